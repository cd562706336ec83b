package sdk

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrCancelled is wrapped by the cause (context.Cause) of a task's context that the
	// host has cancelled; the text after it is the host's reason.
	ErrCancelled = errors.New("the task was cancelled")
	// ErrTimeLimit is the cause (context.Cause) of a task's context whose time is up.
	ErrTimeLimit = errors.New("the task's time limit is reached")

	// errTaskEnded is the cause of the context of a task that has returned.
	errTaskEnded = errors.New("the task has ended")
)

// An InputError says what is wrong with a parameter of a task. A task that returns one
// (wrapped or not) is not tried again: its parameters will not change.
type InputError struct {
	// Param is the parameter's name; empty where the fault is in all of them.
	Param string
	// Problem is what is wrong, for example "not an integer" or "not defined".
	Problem string
}

// Error names the parameter and says what is wrong with it.
func (e *InputError) Error() string {
	if e.Param == "" {
		return "parameters: " + e.Problem
	}
	return fmt.Sprintf("parameter %q: %s", e.Param, e.Problem)
}

// Permanent marks err as one that trying again will not cure: the host gives the task up
// at once, whatever its retry policy is. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// RetryAfter marks err so that the task is tried again after d (at least), whatever the
// host's policy for the time between attempts is; for how often a task is tried the
// policy still counts. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryError{err, d}
}

type retryError struct {
	error
	after time.Duration
}

func (e *retryError) Unwrap() error { return e.error }

// WithData adds key/values to err that the host hands to its error reporters; they must
// be fit for JSON. The data of nested WithData are merged, the outer ones winning.
// WithData(nil, data) is nil.
func WithData(err error, data map[string]any) error {
	if err == nil {
		return nil
	}
	return &dataError{err, data}
}

type dataError struct {
	error
	data map[string]any
}

func (e *dataError) Unwrap() error { return e.error }
