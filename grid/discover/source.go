package discover

import (
	"context"
	"errors"
	"time"

	"lobstah/grid"
	"lobstah/grid/announce"
)

// A Found is an offer that announce.Open accepted, and where it was seen.
type Found struct {
	Offer  *announce.Signed
	Origin grid.Origin // FromTracker, FromNostr or FromLAN
	Where  string      // the tracker's or relay's URL, or the network interface
	URL    string      // where the source itself reached the worker by its key; empty means the offer's
}

// A Source is a place where workers announce themselves, which a router asks.
// Its methods return when their context ends.
type Source interface {
	// Name says to people what the place is, such as "tracker https://…".
	Name() string
	// Collect asks the place once and calls found, from one goroutine, for each
	// offer that is good now. What is not a good offer is left out; the error
	// says that the place could not be asked, or not to the end, and what came
	// before it stands. Without an error the answer is complete: who is not in
	// it is gone from there. An error that wraps [ErrPart] is no failure.
	Collect(ctx context.Context, found func(Found)) error
}

// ErrPart says that a place answered, and that not all of it was read, since it
// shows more than anybody wants to read.
var ErrPart = errors.New("it shows more than is read at a time")

// A Board is a place where a worker announces itself. Its methods return when
// their context ends.
type Board interface {
	// Name says to people what the place is.
	Name() string
	// Publish shows the offer and returns how long it will stand there; zero
	// means as long as the offer says.
	Publish(ctx context.Context, offer *announce.Signed) (time.Duration, error)
	// Withdraw takes down what was published.
	Withdraw(ctx context.Context, gone announce.Withdrawal) error
}
