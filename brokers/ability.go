package brokers

// Wrapper is a Broker that stands for another, for example until that one can be reached.
type Wrapper interface {
	// Unwrap returns the other one, nil while there is none.
	Unwrap() Broker
}

// Ability returns a broker as one of the optional abilities (Waiter, Inspector, Canceller and
// so on), that of the broker it stands for where it stands for one. ok is false where it has
// it not, or not yet.
func Ability[T any](b Broker) (ability T, ok bool) {
	for b != nil {
		if ability, ok = b.(T); ok {
			return ability, true
		}
		w, wraps := b.(Wrapper)
		if !wraps {
			break
		}
		b = w.Unwrap()
	}
	return ability, false
}
