package sdk

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/backplane/leptir/internal/pluginpb"
)

// ChangeState records that the task is in state s now, a number of the author's own
// choosing that fits 32 bits; the host sees it at once. Only the first MaxStates of a task are
// kept.
func (t *BaseTask) ChangeState(s int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.lastState, t.hasState = s, true
	if len(t.states) == MaxStates {
		return
	}
	state := int32(max(math.MinInt32, min(math.MaxInt32, s)))
	t.states = append(t.states, state)
	if t.out == nil {
		return
	}
	t.out.put(&pluginpb.Event{Kind: &pluginpb.Event_State{State: &pluginpb.State{
		Id: t.msg.GetId(), State: state, Time: time.Now().UnixNano(),
	}}}, 32)
	if len(t.states) == MaxStates {
		t.emitLog(levelWarning, fmt.Sprintf("%d states: the further ones are not kept", MaxStates), nil)
	}
}

// GetLastState returns the state that the task is in; false if it has had none.
func (t *BaseTask) GetLastState() (int, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastState, t.hasState
}

// GetExecutionFlow returns the states that the task went through, in order, at most
// MaxStates.
func (t *BaseTask) GetExecutionFlow() []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	flow := make([]int, len(t.states))
	for i, s := range t.states {
		flow[i] = int(s)
	}
	return flow
}

// Progress tells the host how much of the task is done, as a fraction from 0 to 1, and in
// words what it is at. Where a task is faster than the host listens only the last counts.
func (t *BaseTask) Progress(fraction float64, words string) {
	if !(fraction > 0) { // NaN too
		fraction = 0
	}
	fraction = min(fraction, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || t.out == nil {
		return
	}
	t.out.putProgress(&pluginpb.Progress{Id: t.msg.GetId(), Fraction: fraction, Text: text(words, maxProgressBytes)})
}

// SetResult sets the value that the task results in, which the host keeps for whoever
// pushed the task: anything fit for JSON, of at most MaxResultBytes. A later call replaces
// the value.
func (t *BaseTask) SetResult(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("result of the task: %w", err)
	}
	if len(b) > MaxResultBytes {
		return fmt.Errorf("result of the task is %d bytes, at most %d are allowed", len(b), MaxResultBytes)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.result = b
	}
	return nil
}
