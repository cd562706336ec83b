package sqs

import (
	"bytes"
	"context"
	"fmt"
	"io"

	awssqs "github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// sayZeroWait makes a receive that is not to wait say so. The SDK leaves a WaitTimeSeconds
// of 0 out of the request, and SQS takes the queue's own default then, which may be 20
// seconds.
func sayZeroWait(stack *middleware.Stack) error {
	return stack.Build.Add(middleware.BuildMiddlewareFunc("leptirZeroWait", func(
		ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
	) (middleware.BuildOutput, middleware.Metadata, error) {
		request, ok := in.Request.(*smithyhttp.Request)
		if !ok {
			return middleware.BuildOutput{}, middleware.Metadata{}, fmt.Errorf("unexpected request %T", in.Request)
		}
		body, err := io.ReadAll(request.GetStream())
		if err != nil {
			return middleware.BuildOutput{}, middleware.Metadata{}, err
		}
		body = append([]byte(`{"WaitTimeSeconds":0,`), bytes.TrimPrefix(body, []byte("{"))...)
		if in.Request, err = request.SetStream(bytes.NewReader(body)); err != nil {
			return middleware.BuildOutput{}, middleware.Metadata{}, err
		}
		return next.HandleBuild(ctx, in)
	}), middleware.Before)
}

// notWaiting is the option for a receive that is not to wait.
func notWaiting(o *awssqs.Options) { o.APIOptions = append(o.APIOptions, sayZeroWait) }
