package answer

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// textual is what a language model said, as drift counts it.
type textual struct {
	said   []byte // the texts of all choices, one after another
	ends   []int  // where each of them ends; nil if they came in pieces
	tokens int    // as the server counted them; 0: it did not say
	finish string // why the first choice ended; "" if that is not known
	calls  []call
}

// call is a tool that the model asks for.
type call struct {
	name      string
	arguments []byte
}

// completion is the part of an answer in OpenAI's form, or of one event of it,
// that says what was said. Ids, times and names of models are left out.
type completion struct {
	Choices []struct {
		Index        int      `json:"index"`
		Message      *message `json:"message"`
		Delta        *message `json:"delta"`
		Text         *string  `json:"text"`
		FinishReason string   `json:"finish_reason"`
	} `json:"choices"`
	Usage struct {
		CompletionTokens int `json:"completion_tokens"`
	} `json:"usage"`
}

type message struct {
	Content   json.RawMessage `json:"content"` // a string, a list of parts, or null
	ToolCalls []struct {
		Index    int `json:"index"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// text returns the message's content as one text.
func (m *message) text() string {
	var s string
	if json.Unmarshal(m.Content, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	var b strings.Builder
	if json.Unmarshal(m.Content, &parts) == nil {
		for _, p := range parts {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// readChat reads a completion in OpenAI's form, and reports whether it is one.
func (a *Answer) readChat(body []byte) bool {
	if !bytes.Contains(body, []byte(`"choices"`)) {
		return false
	}
	var c completion
	if json.Unmarshal(body, &c) != nil || len(c.Choices) == 0 {
		return false
	}
	for _, choice := range c.Choices {
		if choice.Message == nil && choice.Text == nil {
			return false
		}
	}
	a.Reading = AsText
	a.text.add(&c)
	return true
}

// add appends what one answer, or one event of it, says.
func (t *textual) add(c *completion) {
	t.tokens = max(t.tokens, c.Usage.CompletionTokens)
	for _, choice := range c.Choices {
		m := choice.Message
		if m == nil {
			m = choice.Delta
		}
		switch {
		case m != nil:
			t.said = append(t.said, m.text()...)
			for _, tool := range m.ToolCalls {
				t.call(tool.Index, tool.Function.Name, tool.Function.Arguments)
			}
		case choice.Text != nil:
			t.said = append(t.said, *choice.Text...)
		}
		if choice.Delta == nil {
			t.ends = append(t.ends, len(t.said))
		}
		if choice.FinishReason != "" && t.finish == "" {
			t.finish = choice.FinishReason
		}
	}
}

// call appends to a tool call: events bring its arguments in pieces, which name
// the tool once.
func (t *textual) call(at int, name, arguments string) {
	if name == "" && at >= 0 && at < len(t.calls) {
		t.calls[at].arguments = append(t.calls[at].arguments, arguments...)
		return
	}
	t.calls = append(t.calls, call{name: name, arguments: []byte(arguments)})
}

// readEvents reads a stream of server-sent events, each with a piece of a
// completion; "[DONE]" ends it.
func (a *Answer) readEvents(body []byte, sel Selector) error {
	if sel.Format != Whole {
		return errOtherForm
	}
	found := false
	for line := range bytes.Lines(body) {
		data, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:"))
		if data = bytes.TrimSpace(data); !ok || string(data) == "[DONE]" {
			continue
		}
		var c completion
		if json.Unmarshal(data, &c) != nil {
			return failure("its events are not completions")
		}
		found = found || len(c.Choices) > 0
		a.text.add(&c)
	}
	if !found {
		return failure("its events are not completions")
	}
	a.Reading = AsText
	return nil
}

func (a *Answer) readPlain(body []byte, sel Selector) error {
	if sel.Format != Whole {
		return errOtherForm
	}
	a.Reading, a.text.said = AsText, bytes.Clone(body)
	return nil
}

// counted returns what drift counts. Where the server counts no tokens, the length
// of a text is what stands between white space.
func (t *textual) counted() Said {
	said := bytes.TrimSpace(t.said)
	s := Said{
		Text: true, Tokens: t.tokens, Finish: finish(t.finish), Empty: len(said) == 0 && len(t.calls) == 0,
		JSON:  len(said) > 0 && (said[0] == '{' || said[0] == '[') && json.Valid(said),
		Calls: len(t.calls) > 0,
	}
	for _, c := range t.calls {
		s.Calls = s.Calls && c.name != "" && json.Valid(c.arguments)
	}
	if s.Tokens == 0 {
		for range bytes.FieldsSeq(said) {
			s.Tokens++
		}
	}
	return s
}

// same reports whether two models said the same.
func (t *textual) same(u *textual) bool {
	return bytes.Equal(t.said, u.said) && t.finish == u.finish && slices.Equal(t.ends, u.ends) &&
		slices.EqualFunc(t.calls, u.calls, func(a, b call) bool {
			return a.name == b.name && bytes.Equal(a.arguments, b.arguments)
		})
}
