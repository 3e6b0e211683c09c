package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"lobstah/internal/durable"
	"lobstah/key"
	"lobstah/ledger"
)

// create makes an empty ledger. The file appears whole or not at all, so that
// an empty or partial one is always a sign of damage; an existing file is
// never replaced.
func create(ctx context.Context, path string, owner key.ID) error {
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		return fmt.Errorf("%w: the file is missing but its %s-wal is there; put the file back, or move that away", ledger.ErrDamaged, path)
	}
	image, err := emptyImage(ctx, owner)
	if err != nil {
		return fmt.Errorf("make a new ledger: %w", err)
	}
	fresh := path + ".new"
	if err := durable.WriteFile(fresh, image, 0o600); err != nil {
		return err
	}
	err = os.Link(fresh, path) // unlike a rename, it replaces nothing
	if errors.Is(err, fs.ErrExist) {
		err = nil // another process made it first
	} else if err != nil {
		return os.Rename(fresh, path) // a file system without links
	}
	return errors.Join(err, os.Remove(fresh))
}

// emptyImage returns the bytes of a new database.
func emptyImage(ctx context.Context, owner key.ID) (image []byte, err error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return nil, err
	}
	if err := migrate(ctx, conn); err != nil {
		return nil, err
	}
	root := new(ledger.Tree).Root()
	if _, err := conn.ExecContext(ctx, "INSERT INTO book (id, owner, size, root) VALUES (1, ?, 0, ?)", owner.String(), root[:]); err != nil {
		return nil, err
	}
	err = conn.Raw(func(c any) (err error) {
		image, err = c.(interface{ Serialize() ([]byte, error) }).Serialize()
		return err
	})
	return image, err
}
