package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"lobstah/key"
	"lobstah/ledger"
)

// applicationID marks the file as ours ("lobs" in ASCII), so that no other
// program's database is taken for a ledger.
const applicationID = 0x6c6f6273

// A migration brings the file from the version before it to its own, which is
// its place in migrations, from 1. One that was released is never changed.
type migration struct{ name, sql string }

// migrations is the only place where tables are made, also those of other
// packages that live in this file.
var migrations = []migration{
	{"ledger", `
-- One row: whose book this is, and the tree over all entries.
CREATE TABLE book (
	id    INTEGER PRIMARY KEY CHECK (id = 1),
	owner TEXT NOT NULL,
	size  INTEGER NOT NULL,
	root  BLOB NOT NULL
) STRICT;

-- Sums over the counted entries, maintained by every append. Tokens and
-- numbers of receipts; see ledger.Account.
CREATE TABLE account (
	id              INTEGER PRIMARY KEY,
	name            TEXT NOT NULL UNIQUE,
	earned          INTEGER NOT NULL DEFAULT 0,
	spent           INTEGER NOT NULL DEFAULT 0,
	served          INTEGER NOT NULL DEFAULT 0,
	asked           INTEGER NOT NULL DEFAULT 0,
	self_tokens     INTEGER NOT NULL DEFAULT 0,
	self_receipts   INTEGER NOT NULL DEFAULT 0,
	imported_earned INTEGER NOT NULL DEFAULT 0,
	imported_spent  INTEGER NOT NULL DEFAULT 0,
	imported_served INTEGER NOT NULL DEFAULT 0,
	imported_asked  INTEGER NOT NULL DEFAULT 0,
	bound           INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What entries are looked up by. Times are Unix milliseconds.
CREATE TABLE entry (
	seq       INTEGER PRIMARY KEY,
	side      INTEGER NOT NULL,
	imported  INTEGER NOT NULL,
	counted   INTEGER NOT NULL,
	at        INTEGER NOT NULL,
	completed INTEGER NOT NULL,
	worker    INTEGER NOT NULL REFERENCES account (id),
	requester INTEGER NOT NULL REFERENCES account (id),
	nonce     BLOB NOT NULL,
	model     TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX entry_nonce ON entry (nonce, side);
CREATE INDEX entry_requester ON entry (requester, side);

-- The canonical envelopes, apart so that looking through entries stays quick.
CREATE TABLE envelope (
	seq  INTEGER PRIMARY KEY,
	body BLOB NOT NULL
) STRICT;

-- Stored hashes of the tree; see ledger.Tile.
CREATE TABLE tile (
	level  INTEGER NOT NULL,
	n      INTEGER NOT NULL,
	hashes BLOB NOT NULL,
	PRIMARY KEY (level, n)
) STRICT;

CREATE TABLE checkpoint (
	size INTEGER PRIMARY KEY,
	at   INTEGER NOT NULL,
	note TEXT NOT NULL
) STRICT;
`},
	{"jobs", `
-- Requests whose answers are fetched later; see grid/jobs, which alone reads
-- and writes these. Times are Unix milliseconds, 0 for none.
CREATE TABLE job (
	seq       INTEGER PRIMARY KEY AUTOINCREMENT,
	side      INTEGER NOT NULL, -- as of entry: 1 run here for others, 2 asked of others
	hash      BLOB NOT NULL UNIQUE, -- SHA-256 of the id, by which it is looked up
	id        TEXT NOT NULL,
	once      BLOB UNIQUE, -- hash of the owner and its idempotency key, if it gave one
	owner     TEXT NOT NULL, -- who may see it
	purse     TEXT NOT NULL, -- whose quota and turn it takes
	model     TEXT NOT NULL,
	status    INTEGER NOT NULL,
	tier      INTEGER NOT NULL,
	turn      INTEGER NOT NULL, -- purses take turns in a tier
	created   INTEGER NOT NULL,
	due       INTEGER NOT NULL, -- not to be claimed before
	started   INTEGER NOT NULL DEFAULT 0,
	completed INTEGER NOT NULL DEFAULT 0,
	expires   INTEGER NOT NULL, -- when it is given up, or after its end deleted
	holder    TEXT NOT NULL DEFAULT '', -- who has the lease
	lease     INTEGER NOT NULL DEFAULT 0, -- how long
	attempts  INTEGER NOT NULL DEFAULT 0,
	cancel    INTEGER NOT NULL DEFAULT 0, -- wished for
	placed    INTEGER NOT NULL DEFAULT 0, -- somebody else may have it
	bytes     INTEGER NOT NULL
) STRICT;
CREATE INDEX job_next ON job (side, status, tier, turn, seq);
CREATE INDEX job_purse ON job (side, purse, status, tier, turn, bytes);
CREATE INDEX job_owner ON job (side, owner, seq);
CREATE INDEX job_expires ON job (expires);

CREATE TABLE job_body (
	seq      INTEGER PRIMARY KEY,
	request  BLOB NOT NULL,
	metadata TEXT NOT NULL, -- JSON, empty for none
	seal     TEXT NOT NULL, -- what its side needs to go on, JSON
	note     TEXT NOT NULL DEFAULT '', -- how far it came, JSON
	result   BLOB,
	receipt  BLOB, -- the envelope
	fault    TEXT NOT NULL DEFAULT '' -- JSON, of one that failed
) STRICT;
`},
	{"learned peers", `
-- Who shows which worker, for cmd/lobstah: a row for each source and key, until
-- its announcement ends. Times are Unix milliseconds.
CREATE TABLE learned_peers (
	source   TEXT NOT NULL, -- the tracker, relay or network that was asked
	pubkey   BLOB NOT NULL,
	origin   TEXT NOT NULL, -- tracker, nostr or lan
	place    TEXT NOT NULL,
	url      TEXT NOT NULL, -- where the source itself reached it; empty for the announcement's
	first    INTEGER NOT NULL,
	last     INTEGER NOT NULL,
	expires  INTEGER NOT NULL,
	models   TEXT NOT NULL, -- a JSON array, for who looks with SQL
	envelope BLOB NOT NULL, -- the signed announcement
	PRIMARY KEY (source, pubkey)
) STRICT, WITHOUT ROWID;
`},
	{"tallies of jobs", `
-- What the jobs of one purse come to, kept by triggers, so that a limit is
-- looked up and not counted.
CREATE TABLE job_tally (
	side  INTEGER NOT NULL,
	purse TEXT NOT NULL,
	open  INTEGER NOT NULL, -- jobs that have not ended
	bytes INTEGER NOT NULL, -- of all that are kept
	PRIMARY KEY (side, purse)
) STRICT;
INSERT INTO job_tally SELECT side, purse, sum(status <= 2), sum(bytes) FROM job GROUP BY side, purse;

CREATE TRIGGER job_added AFTER INSERT ON job BEGIN
	INSERT INTO job_tally (side, purse, open, bytes) VALUES (new.side, new.purse, new.status <= 2, new.bytes)
		ON CONFLICT DO UPDATE SET open = open + excluded.open, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER job_changed AFTER UPDATE OF status, bytes ON job WHEN (new.status <= 2) <> (old.status <= 2) OR new.bytes <> old.bytes BEGIN
	UPDATE job_tally SET open = open + (new.status <= 2) - (old.status <= 2), bytes = bytes + new.bytes - old.bytes
		WHERE side = new.side AND purse = new.purse;
END;
CREATE TRIGGER job_removed AFTER DELETE ON job BEGIN
	UPDATE job_tally SET open = open - (old.status <= 2), bytes = bytes - old.bytes WHERE side = old.side AND purse = old.purse;
	DELETE FROM job_tally WHERE side = old.side AND purse = old.purse AND open = 0 AND bytes = 0;
END;
`},
}

// A querier is a database, a connection or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// migrate makes the missing tables, each step in a transaction of its own.
func migrate(ctx context.Context, db querier) error {
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	for number, step := range slices.All(migrations) {
		if number+1 <= version {
			continue
		}
		script := fmt.Sprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", step.sql, number+1)
		if _, err := db.ExecContext(ctx, script); err != nil {
			_, undo := db.ExecContext(ctx, "ROLLBACK")
			return errors.Join(fmt.Errorf("bring it to version %d (%s): %w", number+1, step.name, err), undo)
		}
	}
	return nil
}

// schemaVersion reads the file's version and refuses other programs' files
// and versions that this program does not know.
func schemaVersion(ctx context.Context, db querier) (int, error) {
	var application, version int
	if err := db.QueryRowContext(ctx, "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version").Scan(&application, &version); err != nil {
		return 0, err
	}
	if application != applicationID {
		return 0, fmt.Errorf("%w: it is a database, but not a ledger", ledger.ErrDamaged)
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("%w: its version is %d, this one reads up to %d; update this program", ledger.ErrNewer, version, len(migrations))
	}
	return version, nil
}

// owner reads whose ledger it is.
func readOwner(ctx context.Context, db querier) (id key.ID, err error) {
	var text string
	if err := db.QueryRowContext(ctx, "SELECT owner FROM book WHERE id = 1").Scan(&text); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			err = fmt.Errorf("%w: it names no owner", ledger.ErrDamaged)
		}
		return id, err
	}
	if id, err = key.ParseID(text); err != nil {
		return id, fmt.Errorf("%w: its owner: %w", ledger.ErrDamaged, err)
	}
	return id, nil
}
