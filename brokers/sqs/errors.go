package sqs

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/backplane/leptir/brokers"
)

// entryError is why SQS refused one entry of a batch.
type entryError struct {
	code    string
	message string
	ours    bool // it is no use to send it again
}

func (e *entryError) Error() string {
	if e.message == "" {
		return e.code
	}
	return e.code + ": " + e.message
}

// gone reports whether the error of a deletion or a change of visibility says that the
// message is no longer this receiver's: its visibility timeout ended, or it was deleted.
func gone(err error) bool {
	var e *entryError
	if !errors.As(err, &e) {
		return false
	}
	switch e.code {
	case "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight",
		"ReceiptHandleIsInvalid", "InvalidParameterValue", "InvalidParameterCombination":
		return true
	}
	return false
}

// wrap makes the error of one call readable: what was tried at which queue, what SQS says,
// and what to do about it.
func (q *queue) wrap(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case q.life.Err() != nil:
		return brokers.ErrClosed
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", what, ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: no answer from SQS in time: %w", what, err)
	}
	if advice := q.advice(err); advice != "" {
		return fmt.Errorf("%s: %w; %s", what, err, advice)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// advice says what to do about an error of SQS.
func (q *queue) advice(err error) string {
	var missing *types.QueueDoesNotExist
	if errors.As(err, &missing) {
		return fmt.Sprintf("there is no queue %s there: check %s, region and endpoint", q.url, q.name)
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	switch api.ErrorCode() {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return "the AWS credentials have expired: renew them, or leave out sqs_key and sqs_secret so that AWS's default chain does"
	case "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId":
		return "AWS does not know this access key: check sqs_key, or what AWS's default chain finds"
	case "SignatureDoesNotMatch", "IncompleteSignature", "InvalidSignatureException":
		return "the secret does not fit the access key: check sqs_secret, and this machine's clock"
	case "AccessDenied", "AccessDeniedException":
		return fmt.Sprintf("the credentials do not allow this on %s; docs/brokers/sqs.md lists the permissions that leptir needs", q.url)
	case "OverLimit":
		return "too many messages of this queue are in flight at once"
	}
	return ""
}
