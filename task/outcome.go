package task

import "fmt"

// ReturnCode is how a task ended, in the numbers of the original leptir ("retC").
type ReturnCode int

// The return codes. A task returns 1 to 4; 5 is the host's.
const (
	Success           ReturnCode = 1
	Warning           ReturnCode = 2
	Error             ReturnCode = 3
	Unknown           ReturnCode = 4
	TimeLimitExceeded ReturnCode = 5
)

// Valid reports whether c is one of the five codes.
func (c ReturnCode) Valid() bool { return c >= Success && c <= TimeLimitExceeded }

// Failed reports whether c stands for a task that did not do its work: Error or
// TimeLimitExceeded. Such tasks are retried and reported.
func (c ReturnCode) Failed() bool { return c == Error || c == TimeLimitExceeded }

// String returns the code in words, for people.
func (c ReturnCode) String() string {
	switch c {
	case Success:
		return "success"
	case Warning:
		return "warning"
	case Error:
		return "error"
	case Unknown:
		return "unknown"
	case TimeLimitExceeded:
		return "time limit exceeded"
	}
	return fmt.Sprintf("return code %d", int(c))
}

// Status is where a task stands, in the numbers of the original leptir ("status").
type Status int

// The statuses.
const (
	Pending    Status = 1
	InProgress Status = 2
	Completed  Status = 3
)

// Valid reports whether s is one of the three statuses.
func (s Status) Valid() bool { return s >= Pending && s <= Completed }

// String returns the status in words, for people.
func (s Status) String() string {
	switch s {
	case Pending:
		return "pending"
	case InProgress:
		return "in progress"
	case Completed:
		return "completed"
	}
	return fmt.Sprintf("status %d", int(s))
}
