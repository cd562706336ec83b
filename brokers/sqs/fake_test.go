package sqs

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/brokers"
)

const (
	fakeURL     = "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks"
	fakeDeadURL = "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"
	fakeKey     = "AKIAEXAMPLE"
	fakeSecret  = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
)

// fake is SQS's standard queues in this process, for what no emulator shows: signatures,
// duplicates, disorder, throttling, faults of single entries, retention, the limit of 12
// hours and that of messages in flight. It stands in for the network, so that tests can
// run in the virtual time of testing/synctest.
type fake struct {
	mu     sync.Mutex
	queues map[string]*fakeQueue
	calls  map[string]int // requests answered, by operation
	rng    *rand.Rand
	skew   time.Duration // how far its clock is ahead of the client's

	// refuse may answer a request with an error of that code and HTTP status.
	refuse func(op string) (status int, code string)
	// refuseEntry may refuse one entry of a batch.
	refuseEntry func(op string, entry map[string]any) (code string, ours bool)
	// duplicates is the probability that a received message stays visible for others.
	duplicates float64
	// disorder delivers messages in random order, and sometimes fewer than there are.
	disorder bool
	// deaf loses the answer to a request after it has been carried out.
	deaf func(op string) bool
}

type fakeQueue struct {
	attributes map[string]string
	tags       map[string]any
	messages   []*fakeMessage
	changed    chan struct{}
}

type fakeMessage struct {
	id, body   string
	attributes map[string]any
	sent       time.Time
	visible    time.Time
	received   time.Time // last; zero: never
	first      time.Time
	receives   int
	handle     string
}

func newFake() *fake {
	f := &fake{queues: map[string]*fakeQueue{}, calls: map[string]int{}, rng: rand.New(rand.NewPCG(1, 2))}
	f.queue(fakeURL)
	f.queue(fakeDeadURL)
	return f
}

func (f *fake) queue(url string) *fakeQueue {
	q := &fakeQueue{attributes: map[string]string{
		"MaximumMessageSize": "1048576", "MessageRetentionPeriod": "345600", "DelaySeconds": "0", "VisibilityTimeout": "30",
	}, changed: make(chan struct{})}
	f.queues[url] = q
	return q
}

// settings are those of a broker on the fake's queues.
func (f *fake) settings() *Settings {
	s := Defaults()
	s.Connection = Connection{Queue: fakeURL, DeadQueue: fakeDeadURL, Key: fakeKey, Secret: fakeSecret}
	s.roundTripper = f
	return s
}

func (f *fake) open(tb testing.TB) *Broker { return f.openWith(tb, f.settings(), slog.DiscardHandler) }

func (f *fake) openWith(tb testing.TB, s *Settings, log slog.Handler) *Broker {
	tb.Helper()
	b, err := s.Open(context.Background(), brokers.Env{Name: "mail", Logger: slog.New(log)})
	require.NoError(tb, err)
	return b.(*Broker)
}

func (f *fake) now() time.Time { return time.Now().Add(f.skew) }

// count returns how often an operation was asked for since the last reset.
func (f *fake) count(op string) int { f.mu.Lock(); defer f.mu.Unlock(); return f.calls[op] }

func (f *fake) total() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		n += c
	}
	return n
}

func (f *fake) reset() { f.mu.Lock(); defer f.mu.Unlock(); f.calls = map[string]int{} }

// send puts a message into the queue as a foreign producer would.
func (f *fake) send(body string, attributes map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queues[fakeURL].add(f, body, attributes, 0)
}

// left returns the messages in a queue.
func (f *fake) left(url string) []*fakeMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queues[url].expire(f)
	return slices.Clone(f.queues[url].messages)
}

func (q *fakeQueue) add(f *fake, body string, attributes map[string]any, delay time.Duration) *fakeMessage {
	m := &fakeMessage{id: f.uuid(), body: body, attributes: attributes, sent: f.now(), visible: f.now().Add(delay)}
	q.messages = append(q.messages, m)
	close(q.changed)
	q.changed = make(chan struct{})
	return m
}

func (f *fake) uuid() string { return fmt.Sprintf("%016x%016x", f.rng.Uint64(), f.rng.Uint64()) }

// expire deletes what is older than the retention period.
func (q *fakeQueue) expire(f *fake) {
	retention, _ := strconv.Atoi(q.attributes["MessageRetentionPeriod"])
	q.messages = slices.DeleteFunc(q.messages, func(m *fakeMessage) bool {
		return f.now().Sub(m.sent) > time.Duration(retention)*time.Second
	})
}

// RoundTrip answers a request.
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	op := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	f.mu.Lock()
	f.calls[op]++
	refuse, deaf := f.refuse, f.deaf
	f.mu.Unlock()
	if code := f.unsigned(r, body); code != "" {
		return f.answer(r, http.StatusForbidden, fault(code, "signature")), nil
	}
	if refuse != nil {
		if status, code := refuse(op); code != "" {
			return f.answer(r, status, fault(code, "as the test wants it")), nil
		}
	}
	var in map[string]any
	if err := json.Unmarshal(body, &in); err != nil {
		return nil, err
	}
	out, code := f.serve(r.Context(), op, in)
	if deaf != nil && deaf(op) {
		return nil, fmt.Errorf("connection reset by the test")
	}
	if code != "" {
		return f.answer(r, http.StatusBadRequest, fault(code, "refused by the fake")), nil
	}
	return f.answer(r, http.StatusOK, out), nil
}

func fault(code, message string) map[string]any {
	return map[string]any{"__type": "com.amazonaws.sqs#" + code, "message": message}
}

func (f *fake) answer(r *http.Request, status int, out map[string]any) *http.Response {
	b, err := json.Marshal(out)
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{
			"Content-Type": {"application/x-amz-json-1.0"}, "Date": {f.now().UTC().Format(http.TimeFormat)},
		},
		Body: io.NopCloser(bytes.NewReader(b)), ContentLength: int64(len(b)),
	}
}

// unsigned returns the code of what is wrong with a request's signature, "" if it is right.
func (f *fake) unsigned(r *http.Request, body []byte) (code string) {
	authorization := r.Header.Get("Authorization")
	scope, signed, ok := strings.Cut(strings.TrimPrefix(authorization, "AWS4-HMAC-SHA256 Credential="), ", SignedHeaders=")
	if !ok {
		return "MissingAuthenticationToken"
	}
	if !strings.HasPrefix(scope, fakeKey+"/") || !strings.HasSuffix(scope, "/eu-west-1/sqs/aws4_request") {
		return "InvalidClientTokenId"
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || f.now().Sub(at).Abs() > 5*time.Minute {
		return "SignatureDoesNotMatch"
	}
	headers, _, _ := strings.Cut(signed, ",")
	again, err := http.NewRequest(r.Method, r.URL.String(), nil)
	if err != nil {
		return err.Error()
	}
	for _, h := range strings.Split(headers, ";") {
		if h != "host" && h != "content-length" {
			again.Header[http.CanonicalHeaderKey(h)] = r.Header.Values(h)
		}
	}
	again.ContentLength = int64(len(body))
	sum := sha256.Sum256(body)
	creds := aws.Credentials{AccessKeyID: fakeKey, SecretAccessKey: fakeSecret}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, again, hex.EncodeToString(sum[:]), "sqs", "eu-west-1", at); err != nil {
		return err.Error()
	}
	if again.Header.Get("Authorization") != authorization {
		return "SignatureDoesNotMatch"
	}
	return ""
}

// serve carries out an operation.
func (f *fake) serve(ctx context.Context, op string, in map[string]any) (out map[string]any, code string) {
	url, _ := in["QueueUrl"].(string)
	f.mu.Lock()
	q := f.queues[url]
	if q == nil {
		f.mu.Unlock()
		return nil, "QueueDoesNotExist"
	}
	q.expire(f)
	f.mu.Unlock()
	if op == "ReceiveMessage" {
		return f.receive(ctx, q, in)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch op {
	case "GetQueueAttributes":
		return map[string]any{"Attributes": q.counted(f)}, ""
	case "ListQueueTags":
		return map[string]any{"Tags": q.tags}, ""
	case "TagQueue":
		q.tags = in["Tags"].(map[string]any)
		return map[string]any{}, ""
	case "UntagQueue":
		q.tags = nil
		return map[string]any{}, ""
	case "SendMessageBatch":
		return f.each(op, in, q.send)
	case "DeleteMessageBatch":
		return f.each(op, in, q.delete)
	case "ChangeMessageVisibilityBatch":
		return f.each(op, in, q.hide)
	}
	return nil, "InvalidAction"
}

// each carries out a batch.
func (f *fake) each(op string, in map[string]any, do func(*fake, map[string]any) (map[string]any, string)) (map[string]any, string) {
	entries, _ := in["Entries"].([]any)
	if len(entries) == 0 || len(entries) > 10 {
		return nil, "TooManyEntriesInBatchRequest"
	}
	successful, failed := []any{}, []any{}
	for _, e := range entries {
		entry := e.(map[string]any)
		code, ours := "", true
		var result map[string]any
		if f.refuseEntry != nil {
			code, ours = f.refuseEntry(op, entry)
		}
		if code == "" {
			if result, code = do(f, entry); code != "" {
				ours = true
			}
		}
		if code != "" {
			failed = append(failed, map[string]any{"Id": entry["Id"], "Code": code, "Message": "refused by the fake", "SenderFault": ours})
			continue
		}
		result["Id"] = entry["Id"]
		successful = append(successful, result)
	}
	return map[string]any{"Successful": successful, "Failed": failed}, ""
}

func (q *fakeQueue) send(f *fake, e map[string]any) (map[string]any, string) {
	body := e["MessageBody"].(string)
	attributes, _ := e["MessageAttributes"].(map[string]any)
	delay, _ := e["DelaySeconds"].(float64)
	size := len(body)
	for name, v := range attributes {
		for _, part := range v.(map[string]any) {
			size += len(part.(string))
		}
		size += len(name)
	}
	if most, _ := strconv.Atoi(q.attributes["MaximumMessageSize"]); size > most || delay < 0 || delay > 900 || len(attributes) > 10 {
		return nil, "InvalidParameterValue"
	}
	if strings.ContainsAny(body, "\x00\x01\x02\x1f\uFFFE\uFFFF") { // some of those that SQS refuses
		return nil, "InvalidMessageContents"
	}
	m := q.add(f, body, attributes, time.Duration(delay)*time.Second)
	return map[string]any{"MessageId": m.id, "MD5OfMessageBody": sum(body)}, ""
}

func sum(s string) string {
	h := md5.Sum([]byte(s))
	return hex.EncodeToString(h[:])
}

// delete deletes a message; a receipt handle that is not the latest does nothing.
func (q *fakeQueue) delete(_ *fake, e map[string]any) (map[string]any, string) {
	q.messages = slices.DeleteFunc(q.messages, func(m *fakeMessage) bool { return m.handle == e["ReceiptHandle"] })
	return map[string]any{}, ""
}

func (q *fakeQueue) hide(f *fake, e map[string]any) (map[string]any, string) {
	seconds := time.Duration(e["VisibilityTimeout"].(float64)) * time.Second
	for _, m := range q.messages {
		if m.handle != e["ReceiptHandle"] {
			continue
		}
		switch {
		case !m.visible.After(f.now()):
			return nil, "MessageNotInflight"
		case f.now().Add(seconds).Sub(m.received) > 12*time.Hour:
			return nil, "InvalidParameterValue"
		}
		m.visible = f.now().Add(seconds)
		if seconds == 0 {
			close(q.changed)
			q.changed = make(chan struct{})
		}
		return map[string]any{}, ""
	}
	return nil, "ReceiptHandleIsInvalid"
}

// counted returns the queue's attributes with the counts.
func (q *fakeQueue) counted(f *fake) map[string]string {
	var visible, delayed, inFlight int
	for _, m := range q.messages {
		switch {
		case !m.visible.After(f.now()):
			visible++
		case m.received.IsZero():
			delayed++
		default:
			inFlight++
		}
	}
	out := map[string]string{
		"ApproximateNumberOfMessages":           strconv.Itoa(visible),
		"ApproximateNumberOfMessagesDelayed":    strconv.Itoa(delayed),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(inFlight),
	}
	for k, v := range q.attributes {
		if k != "inFlight" {
			out[k] = v
		} else { // what a test pretends
			out["ApproximateNumberOfMessagesNotVisible"] = v
		}
	}
	return out
}

// receive waits for messages, as long as the request says.
func (f *fake) receive(ctx context.Context, q *fakeQueue, in map[string]any) (map[string]any, string) {
	wait, _ := in["WaitTimeSeconds"].(float64)
	n, hide := int(in["MaxNumberOfMessages"].(float64)), in["VisibilityTimeout"].(float64)
	end := time.Now().Add(time.Duration(wait) * time.Second)
	for {
		f.mu.Lock()
		got := q.take(f, n, time.Duration(hide)*time.Second)
		changed, next := q.changed, end
		for _, m := range q.messages {
			if at := m.visible.Add(-f.skew); at.After(time.Now()) && at.Before(next) {
				next = at
			}
		}
		f.mu.Unlock()
		if len(got) > 0 || !time.Now().Before(end) {
			return map[string]any{"Messages": got}, ""
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, "RequestCanceled"
		}
		timer.Stop()
	}
}

// take receives visible messages.
func (q *fakeQueue) take(f *fake, n int, hide time.Duration) (out []any) {
	q.expire(f)
	var visible []*fakeMessage
	for _, m := range q.messages {
		if !m.visible.After(f.now()) {
			visible = append(visible, m)
		}
	}
	if f.disorder {
		f.rng.Shuffle(len(visible), func(i, j int) { visible[i], visible[j] = visible[j], visible[i] })
		n -= f.rng.IntN(n)
	}
	redrive := struct {
		Max json.Number `json:"maxReceiveCount"`
	}{}
	if p := q.attributes["RedrivePolicy"]; p != "" {
		if err := json.Unmarshal([]byte(p), &redrive); err != nil {
			panic(err)
		}
	}
	most, _ := redrive.Max.Int64()
	for _, m := range visible {
		if len(out) == n {
			break
		}
		m.receives++
		if most > 0 && int64(m.receives) > most {
			q.messages = slices.DeleteFunc(q.messages, func(o *fakeMessage) bool { return o == m })
			f.queues[fakeDeadURL].messages = append(f.queues[fakeDeadURL].messages, m)
			continue
		}
		if m.first.IsZero() {
			m.first = f.now()
		}
		m.received, m.handle = f.now(), f.uuid()
		if f.rng.Float64() >= f.duplicates {
			m.visible = f.now().Add(hide)
		}
		shown := map[string]any{
			"MessageId": m.id, "ReceiptHandle": m.handle, "Body": m.body, "MD5OfBody": sum(m.body),
			"Attributes": map[string]any{
				"ApproximateReceiveCount":          strconv.Itoa(m.receives),
				"SentTimestamp":                    strconv.FormatInt(m.sent.UnixMilli(), 10),
				"ApproximateFirstReceiveTimestamp": strconv.FormatInt(m.first.UnixMilli(), 10),
			},
		}
		if len(m.attributes) > 0 {
			shown["MessageAttributes"] = m.attributes
		}
		out = append(out, shown)
	}
	return out
}
