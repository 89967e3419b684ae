-- Pinned tests, and the replies of each version to them. A version is the digest of its content, or 'base'.

CREATE TABLE pinned_tests (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  key     TEXT NOT NULL UNIQUE,     -- hash of dialog and rule
  dialog  TEXT NOT NULL,            -- JSON, ends with the prompt
  kind    TEXT NOT NULL,            -- contains, not_contains, regex
  text    TEXT NOT NULL,
  created REAL NOT NULL
);

CREATE TABLE pinned_results (
  id      INTEGER PRIMARY KEY,
  test_id INTEGER NOT NULL REFERENCES pinned_tests (id) ON DELETE CASCADE,
  digest  TEXT NOT NULL,
  model   TEXT NOT NULL,
  passed  INTEGER NOT NULL,
  reply   TEXT NOT NULL,
  created REAL NOT NULL,
  UNIQUE (test_id, digest, model)
);
