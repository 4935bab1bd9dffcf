package shape

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

const (
	maxReported = 100  // violations spelled out; all are counted
	maxShown    = 1024 // bytes of a value that a message repeats

	// A longer string, over its limit anyway, costs no pattern match.
	maxMatched = 64 << 10
)

// Enums are further values to accept, by the name of the enumeration's shape,
// as with instance types that only one installation has.
type Enums map[string][]string

// Validate returns nil or a fault.Invalid that lists every broken constraint of
// v in the API's words, in the order of the members.
func Validate(v Value, more Enums) error {
	c := checker{more: more}
	c.structure(v.Shape(), reflect.Indirect(reflect.ValueOf(v)))
	if c.count == 0 {
		return nil
	}
	s := "s"
	if c.count == 1 {
		s = ""
	}
	return fault.New(fault.Invalid, "%d validation error%s detected: %s", c.count, s, strings.Join(c.found, "; "))
}

type checker struct {
	more  Enums
	path  []step
	count int
	found []string
}

// A step of a path is a member's name, or an element's index (or map key).
type step struct {
	member string
	elem   string
	index  int // from 1; 0 for a member or a map key
}

func (c *checker) structure(s *Shape, v reflect.Value) {
	for i := range s.Members {
		m, f := &s.Members[i], v.Field(i)
		if f.IsNil() && !m.Required {
			continue
		}
		c.path = append(c.path, step{member: m.Name})
		if f.IsNil() {
			c.violated("null", "Member must not be null")
		} else {
			c.value(m.Shape, reflect.Indirect(f))
		}
		c.path = c.path[:len(c.path)-1]
	}
}

func (c *checker) value(s *Shape, v reflect.Value) {
	switch s.Kind {
	case Structure:
		if s.Union && setMembers(v) != 1 {
			c.violated(quoted(s, v), "Member must have exactly one member set")
		}
		c.structure(s, v)
		return
	case Timestamp, Boolean, Free:
		return
	}
	for b := range c.breaches(s, v).each {
		c.violated(quoted(s, v), b.text(s))
	}
	switch s.Kind {
	case List:
		c.list(s, v)
	case Map:
		c.mapping(s, v)
	}
}

// setMembers counts the members of a structure that are there.
func setMembers(v reflect.Value) (n int) {
	for i := range v.NumField() {
		if !v.Field(i).IsNil() {
			n++
		}
	}
	return n
}

// list checks the elements. Structures are named one by one; simple elements
// are blamed on their list, as the API does.
func (c *checker) list(s *Shape, v reflect.Value) {
	if s.Max.Set && float64(v.Len()) > s.Max.N {
		return // said already; its elements would only repeat themselves
	}
	bad := false
	for i := range v.Len() {
		if composite(s.Elem) {
			c.path = append(c.path, step{index: i + 1})
			c.value(s.Elem, v.Index(i))
			c.path = c.path[:len(c.path)-1]
		} else if !bad && c.breaches(s.Elem, v.Index(i)) != 0 {
			bad = true
		}
	}
	if bad {
		c.violated(quoted(s, v), "Member must satisfy constraint: "+constraints(s.Elem))
	}
}

func (c *checker) mapping(s *Shape, v reflect.Value) {
	if s.Max.Set && float64(v.Len()) > s.Max.N {
		return
	}
	badKey, badElem := false, false
	for _, k := range SortedKeys(v) {
		badKey = badKey || c.breaches(s.Key, k) != 0
		if elem := v.MapIndex(k); composite(s.Elem) {
			c.path = append(c.path, step{elem: k.String()})
			c.value(s.Elem, elem)
			c.path = c.path[:len(c.path)-1]
		} else {
			badElem = badElem || c.breaches(s.Elem, elem) != 0
		}
	}
	if badKey {
		c.violated(quoted(s, v), "Map keys must satisfy constraint: "+constraints(s.Key))
	}
	if badElem {
		c.violated(quoted(s, v), "Map value must satisfy constraint: "+constraints(s.Elem))
	}
}

func composite(s *Shape) bool { return s.Kind == Structure || s.Kind == List || s.Kind == Map }

// A breach is a set of the constraints that a value breaks.
type breach uint8

const (
	overMax breach = 1 << iota
	underMin
	noMatch
	notInEnum
	breachEnd
)

// each yields the breaches of the set, in the order that messages have.
func (b breach) each(yield func(breach) bool) {
	for one := overMax; one < breachEnd; one <<= 1 {
		if b&one != 0 && !yield(one) {
			return
		}
	}
}

// breaches checks everything about v itself, not about what it contains.
func (c *checker) breaches(s *Shape, v reflect.Value) (b breach) {
	var n float64
	switch s.Kind {
	case String:
		n = float64(utf8.RuneCountInString(v.String()))
		tooLong := s.Max.Set && n > s.Max.N && v.Len() > maxMatched
		if s.Pattern != nil && !tooLong && !s.Pattern.Match(v.String()) {
			b |= noMatch
		}
		if s.Enum != nil && !slices.Contains(s.Enum, v.String()) && !slices.Contains(c.more[s.Name], v.String()) {
			b |= notInEnum
		}
	case List, Map, Blob:
		n = float64(v.Len())
	case Integer, Long:
		n = float64(v.Int())
	case Float, Double:
		n = v.Float()
	default:
		return 0
	}
	if s.Max.Set && !(n <= s.Max.N) { // which NaN is not
		b |= overMax
	}
	if s.Min.Set && !(n >= s.Min.N) {
		b |= underMin
	}
	return b
}

// text is the constraint that was broken, in the API's words.
func (b breach) text(s *Shape) string {
	what := "length"
	switch s.Kind {
	case Integer, Long, Float, Double:
		what = "value"
	}
	switch b {
	case overMax:
		return fmt.Sprintf("Member must have %s less than or equal to %s", what, plain(s.Max.N))
	case underMin:
		return fmt.Sprintf("Member must have %s greater than or equal to %s", what, plain(s.Min.N))
	case noMatch:
		return "Member must satisfy regular expression pattern: " + s.Pattern.anchored()
	default:
		return "Member must satisfy enum value set: [" + strings.Join(s.Enum, ", ") + "]"
	}
}

// constraints lists all that is asked of an element, key or map value.
func constraints(s *Shape) string {
	var all breach
	if s.Max.Set {
		all |= overMax
	}
	if s.Min.Set {
		all |= underMin
	}
	if s.Pattern != nil {
		all |= noMatch
	}
	if s.Enum != nil {
		all |= notInEnum
	}
	var texts []string
	for b := range all.each {
		texts = append(texts, b.text(s))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (c *checker) violated(value, constraint string) {
	if c.count++; c.count > maxReported {
		return
	}
	c.found = append(
		c.found, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, c.where(), constraint),
	)
}

// where prints the path: productionVariants.1.member.instanceType
func (c *checker) where() string {
	var b strings.Builder
	for i, s := range c.path {
		if i > 0 {
			b.WriteByte('.')
		}
		switch {
		case s.member != "":
			b.WriteString(lowerCamel(s.member))
		case s.index > 0:
			b.WriteString(strconv.Itoa(s.index) + ".member")
		default:
			b.WriteString(clip(s.elem) + ".member")
		}
	}
	return b.String()
}

func lowerCamel(name string) string { return strings.ToLower(name[:1]) + name[1:] }

func quoted(s *Shape, v reflect.Value) string {
	var b strings.Builder
	show(&b, s, v)
	return "'" + clip(b.String()) + "'"
}

// clip keeps a hostile value from being multiplied in the answer.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "..."
}

// show prints a value in the manner of the service: [a, b], {k=v}. It stops
// soon after maxShown bytes.
func show(b *strings.Builder, s *Shape, v reflect.Value) {
	switch s.Kind {
	case String:
		b.WriteString(v.String())
	case Integer, Long:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case Float, Double:
		b.Write(AppendFloat(nil, v.Float(), v.Type().Bits()))
	case Boolean:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case Timestamp:
		t, _ := reflect.TypeAssert[Time](v)
		b.Write(appendTime(nil, t.Time))
	case Blob, Free:
		fmt.Fprintf(b, "%d bytes", v.Len())
	case List:
		b.WriteByte('[')
		for i := 0; i < v.Len() && b.Len() <= maxShown; i++ {
			separate(b, i)
			show(b, s.Elem, v.Index(i))
		}
		b.WriteByte(']')
	case Map:
		b.WriteByte('{')
		for i, k := range SortedKeys(v) {
			if b.Len() > maxShown {
				break
			}
			separate(b, i)
			b.WriteString(k.String() + "=")
			show(b, s.Elem, v.MapIndex(k))
		}
		b.WriteByte('}')
	case Structure:
		b.WriteString(s.Name + "(")
		n := 0
		for i := range s.Members {
			if f := v.Field(i); !f.IsNil() && b.Len() <= maxShown {
				separate(b, n)
				n++
				b.WriteString(lowerCamel(s.Members[i].Name) + "=")
				show(b, s.Members[i].Shape, reflect.Indirect(f))
			}
		}
		b.WriteByte(')')
	}
}

func separate(b *strings.Builder, i int) {
	if i > 0 {
		b.WriteString(", ")
	}
}

// plain prints a bound: whole numbers without a point.
func plain(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
