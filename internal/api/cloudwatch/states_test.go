package cloudwatch_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

func TestAStateThatIsSetLastsUntilTheNextEvaluation(t *testing.T) {
	w := newWorld(t)
	w.put(watching("a", func(in *cloudwatch.PutMetricAlarmInput) { in.Period = aws.Int32(10) }))
	w.await("a", types.StateValueOk)
	set := func(state types.StateValue, data string) error {
		in := &cloudwatch.SetAlarmStateInput{
			AlarmName: aws.String("a"), StateValue: state, StateReason: aws.String("a drill"),
		}
		if data != "" {
			in.StateReasonData = &data
		}
		_, err := w.SetAlarmState(t.Context(), in)
		return err
	}
	w.ok(set(types.StateValueAlarm, `{"who":"me"}`))
	// The next evaluation may be due this moment; the history keeps what was.
	history := must(
		w.DescribeAlarmHistory(t.Context(), &cloudwatch.DescribeAlarmHistoryInput{
			AlarmName: aws.String("a"), HistoryItemType: types.HistoryItemTypeStateUpdate,
		}),
	)(t)
	if !slices.ContainsFunc(history.AlarmHistoryItems, func(h types.AlarmHistoryItem) bool {
		return *h.HistorySummary == "Alarm updated from OK to ALARM" && strings.Contains(*h.HistoryData, "a drill")
	}) {
		t.Errorf("the history is %v", history.AlarmHistoryItems)
	}
	if a := w.alarm("a"); a.StateValue == types.StateValueAlarm &&
		(*a.StateReason != "a drill" || *a.StateReasonData != `{"who":"me"}`) {
		t.Errorf("after SetAlarmState: %s %s", aws.ToString(a.StateReason), aws.ToString(a.StateReasonData))
	}
	w.await("a", types.StateValueOk)
	w.refused(set(types.StateValueAlarm, "{"), http.StatusBadRequest, "InvalidFormat", "not valid JSON")
	_, err := w.SetAlarmState(t.Context(), &cloudwatch.SetAlarmStateInput{
		AlarmName: aws.String("nobody"), StateValue: types.StateValueOk, StateReason: aws.String(""),
	})
	w.refused(err, http.StatusNotFound, "ResourceNotFound", "Could not find alarm(s): [nobody].")
}

func TestDeletingAnAlarmThatDoesNotExistSucceeds(t *testing.T) {
	w := newWorld(t)
	w.put(watching("a"))
	_, err := w.DeleteAlarms(t.Context(), &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"nobody", "a"}})
	w.ok(err)
	if got := names(w.describe(&cloudwatch.DescribeAlarmsInput{})); len(got) != 0 {
		t.Errorf("left are %v", got)
	}
	var history []string
	pages := cloudwatch.NewDescribeAlarmHistoryPaginator(w.Client, &cloudwatch.DescribeAlarmHistoryInput{
		AlarmName: aws.String("a"), HistoryItemType: types.HistoryItemTypeConfigurationUpdate,
		ScanBy: types.ScanByTimestampAscending, MaxRecords: aws.Int32(1),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		w.ok(err)
		for _, h := range page.AlarmHistoryItems {
			history = append(history, *h.HistorySummary)
			if h.AlarmType != types.AlarmTypeMetricAlarm || time.Since(*h.Timestamp) > time.Minute ||
				!json.Valid([]byte(*h.HistoryData)) {
				t.Errorf("a line of history: %+v", h)
			}
		}
	}
	if want := []string{`Alarm "a" created`, `Alarm "a" deleted`}; !slices.Equal(history, want) {
		t.Errorf("the history is %q", history)
	}
	_, err = w.DescribeAlarmHistory(t.Context(), &cloudwatch.DescribeAlarmHistoryInput{NextToken: aws.String("!")})
	w.refused(err, http.StatusBadRequest, "InvalidNextToken", "invalid")
	none, err := w.DescribeAlarmHistory(t.Context(), &cloudwatch.DescribeAlarmHistoryInput{
		AlarmTypes: []types.AlarmType{types.AlarmTypeCompositeAlarm},
	})
	w.ok(err)
	if len(none.AlarmHistoryItems) != 0 {
		t.Errorf("composite alarms have the history %v", none.AlarmHistoryItems)
	}
}

func TestACompositeAlarmFollowsItsChildren(t *testing.T) {
	w := newWorld(t)
	w.put(watching("a"))
	_, err := w.PutCompositeAlarm(t.Context(), &cloudwatch.PutCompositeAlarmInput{
		AlarmName: aws.String("c"), AlarmRule: aws.String(`ALARM("a")`), ActionsEnabled: aws.Bool(false),
		AlarmDescription:  aws.String("d"),
		ActionsSuppressor: aws.String("a"), ActionsSuppressorWaitPeriod: aws.Int32(0),
		ActionsSuppressorExtensionPeriod: aws.Int32(5),
		Tags:                             []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	})
	w.ok(err)
	composite := func() types.CompositeAlarm {
		out := w.describe(&cloudwatch.DescribeAlarmsInput{
			AlarmNames: []string{"c"}, AlarmTypes: []types.AlarmType{types.AlarmTypeCompositeAlarm},
		})
		if len(out.CompositeAlarms) != 1 {
			t.Fatal("there is no composite alarm")
		}
		return out.CompositeAlarms[0]
	}
	c := composite()
	if c.StateValue != types.StateValueOk || *c.AlarmRule != `ALARM("a")` || *c.ActionsEnabled ||
		*c.AlarmDescription != "d" || *c.ActionsSuppressor != "a" ||
		*c.ActionsSuppressorWaitPeriod != 0 || *c.ActionsSuppressorExtensionPeriod != 5 || c.AlarmActions == nil ||
		*c.AlarmArn != "arn:aws:cloudwatch:us-east-1:123456789012:alarm:c" {
		t.Errorf("%+v", c)
	}
	w.sample("Orders", 1)
	for deadline := time.Now().Add(10 * time.Second); composite().StateValue != types.StateValueAlarm &&
		time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	history, err := w.DescribeAlarmHistory(t.Context(), &cloudwatch.DescribeAlarmHistoryInput{
		AlarmName: aws.String("c"), AlarmTypes: []types.AlarmType{types.AlarmTypeCompositeAlarm},
		HistoryItemType: types.HistoryItemTypeStateUpdate,
		ScanBy:          types.ScanByTimestampAscending,
	})
	w.ok(err)
	if got := history.AlarmHistoryItems; !slices.ContainsFunc(got, func(h types.AlarmHistoryItem) bool {
		return *h.HistorySummary == "Alarm updated from OK to ALARM" && h.AlarmType == types.AlarmTypeCompositeAlarm
	}) {
		t.Errorf("it did not follow: %v", got)
	}
	_, err = w.PutCompositeAlarm(t.Context(), &cloudwatch.PutCompositeAlarmInput{
		AlarmName: aws.String("d"), AlarmRule: aws.String("ALARM(nobody)"),
	})
	w.refused(err, http.StatusBadRequest, "ValidationError", "do not exist: [nobody]")
	_, err = w.DeleteAlarms(t.Context(), &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"a"}})
	w.refused(
		err, http.StatusBadRequest, "ValidationError",
		"Cannot delete a as there are composite alarm(s) depending on it: [c].",
	)
}

func TestActionsAreSwitchedOffAndOn(t *testing.T) {
	w := newWorld(t)
	w.put(watching("a"))
	for _, on := range []bool{false, true} {
		var err error
		if on {
			_, err = w.EnableAlarmActions(
				t.Context(), &cloudwatch.EnableAlarmActionsInput{AlarmNames: []string{"a", "nobody"}},
			)
		} else {
			_, err = w.DisableAlarmActions(
				t.Context(), &cloudwatch.DisableAlarmActionsInput{AlarmNames: []string{"nobody", "a"}},
			)
		}
		w.ok(err)
		if got := *w.alarm("a").ActionsEnabled; got != on {
			t.Errorf("switched to %v, ActionsEnabled is %v", on, got)
		}
	}
}

func TestTagsOfAnAlarm(t *testing.T) {
	w := newWorld(t)
	w.put(watching("a:b"))
	id := w.alarm("a:b").AlarmArn
	tag := func(pairs ...string) error {
		var tags []types.Tag
		for i := 0; i < len(pairs); i += 2 {
			tags = append(tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		_, err := w.TagResource(t.Context(), &cloudwatch.TagResourceInput{ResourceARN: id, Tags: tags})
		return err
	}
	w.ok(tag("a", "1", "b", "2"))
	w.ok(tag("b", "3"))
	_, err := w.UntagResource(
		t.Context(), &cloudwatch.UntagResourceInput{ResourceARN: id, TagKeys: []string{"a", "zzz"}},
	)
	w.ok(err)
	out, err := w.ListTagsForResource(t.Context(), &cloudwatch.ListTagsForResourceInput{ResourceARN: id})
	w.ok(err)
	if len(out.Tags) != 1 || *out.Tags[0].Key != "b" || *out.Tags[0].Value != "3" {
		t.Errorf("the tags are %v", out.Tags)
	}
	w.refused(tag("aws:x", "1"), http.StatusBadRequest, "InvalidParameterValue", "reserved")
	// Of an alarm that is not there no tags are listed, and none can be given.
	gone := "arn:aws:cloudwatch:us-east-1:123456789012:alarm:no"
	out, err = w.ListTagsForResource(t.Context(), &cloudwatch.ListTagsForResourceInput{ResourceARN: &gone})
	w.ok(err)
	if out.Tags == nil || len(out.Tags) != 0 {
		t.Errorf("an alarm that does not exist has tags: %v", out.Tags)
	}
	id = &gone
	w.refused(tag("a", "1"), http.StatusNotFound, "ResourceNotFoundException", "")
	for arn, status := range map[string]int{
		"arn:aws:cloudwatch:eu-west-1:123456789012:alarm:a:b": http.StatusNotFound,
		"arn:aws:cloudwatch:us-east-1:999999999999:alarm:a:b": http.StatusNotFound,
		"arn:aws:cloudwatch:us-east-1:123456789012:a:b":       http.StatusBadRequest,
	} {
		_, err := w.ListTagsForResource(t.Context(), &cloudwatch.ListTagsForResourceInput{ResourceARN: &arn})
		if status == http.StatusNotFound {
			w.refused(err, status, "ResourceNotFoundException", "") // its model has no message
			if e, ok := errors.AsType[*types.ResourceNotFoundException](err); !ok ||
				aws.ToString(e.ResourceId) != arn || aws.ToString(e.ResourceType) != "alarm" {
				t.Errorf("%+v", err)
			}
		} else {
			w.refused(err, status, "InvalidParameterValue", "is not the ARN of an alarm")
		}
	}
}
