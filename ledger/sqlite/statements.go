package sqlite

import (
	"context"
	"database/sql"
	"errors"
)

// statements are the writer's, prepared once.
type statements struct {
	begin, commit, rollback         *sql.Stmt
	savepoint, release, undo        *sql.Stmt
	book, setBook                   *sql.Stmt
	byNonce, envelope               *sql.Stmt
	addEntry, addEnvelope, promote  *sql.Stmt
	account, addAccount, setAccount *sql.Stmt
	tile, setTile                   *sql.Stmt
	checkpoint, addCheckpoint       *sql.Stmt

	all []*sql.Stmt
}

func prepareAll(ctx context.Context, conn *sql.Conn) (s statements, err error) {
	for _, p := range []struct {
		stmt **sql.Stmt
		sql  string
	}{
		{&s.begin, "BEGIN IMMEDIATE"},
		{&s.commit, "COMMIT"},
		{&s.rollback, "ROLLBACK"},
		{&s.savepoint, "SAVEPOINT item"},
		{&s.release, "RELEASE item"},
		{&s.undo, "ROLLBACK TO item"},
		{&s.book, "SELECT size, root FROM book WHERE id = 1"},
		{&s.setBook, "UPDATE book SET size = ?, root = ? WHERE id = 1"},
		{&s.byNonce, "SELECT seq, side, imported, counted FROM entry WHERE nonce = ?"},
		{&s.envelope, "SELECT body FROM envelope WHERE seq = ?"},
		{&s.addEntry, `INSERT INTO entry (seq, side, imported, counted, at, completed, worker, requester, nonce, model)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&s.addEnvelope, "INSERT INTO envelope (seq, body) VALUES (?, ?)"},
		{&s.promote, "UPDATE entry SET imported = 0, counted = ? WHERE seq = ?"},
		{&s.account, "SELECT id FROM account WHERE name = ?"},
		{&s.addAccount, "INSERT INTO account (name) VALUES (?) RETURNING id"},
		{&s.setAccount, `UPDATE account SET
			earned = min(earned + ?, 1 << 60), spent = min(spent + ?, 1 << 60), served = served + ?, asked = asked + ?,
			self_tokens = min(self_tokens + ?, 1 << 60), self_receipts = self_receipts + ?,
			imported_earned = min(imported_earned + ?, 1 << 60), imported_spent = min(imported_spent + ?, 1 << 60),
			imported_served = imported_served + ?, imported_asked = imported_asked + ?,
			bound = bound OR ? WHERE id = ?`},
		{&s.tile, tileQuery},
		{&s.setTile, "INSERT INTO tile (level, n, hashes) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET hashes = excluded.hashes"},
		{&s.checkpoint, checkpointQuery},
		{&s.addCheckpoint, "INSERT OR IGNORE INTO checkpoint (size, at, note) VALUES (?, ?, ?)"},
	} {
		if *p.stmt, err = conn.PrepareContext(ctx, p.sql); err != nil {
			return s, err
		}
		s.all = append(s.all, *p.stmt)
	}
	return s, nil
}

func (s *statements) close() (err error) {
	for _, stmt := range s.all {
		err = errors.Join(err, stmt.Close())
	}
	return err
}
