-- Conversations are trees of exchanges; what a person decided stands on the exchange.

CREATE TABLE conversations (
  id      INTEGER PRIMARY KEY,
  title   TEXT NOT NULL,
  source  TEXT NOT NULL,
  key     TEXT UNIQUE,              -- hash of the content of an imported dialog; NULL for a chat
  created REAL NOT NULL,
  updated REAL NOT NULL
);
CREATE INDEX chats_by_use ON conversations (updated) WHERE key IS NULL;

-- The long texts stand last, so that a scan of the rest does not read their overflow pages.
CREATE TABLE exchanges (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  conversation_id INTEGER NOT NULL REFERENCES conversations (id),
  parent_id       INTEGER REFERENCES exchanges (id),
  status          TEXT NOT NULL,
  finish          TEXT NOT NULL,
  model           TEXT NOT NULL,
  adapter         TEXT NOT NULL,
  tokens          INTEGER NOT NULL DEFAULT 0,
  seconds         REAL NOT NULL DEFAULT 0,
  source          TEXT NOT NULL,
  tags            TEXT NOT NULL DEFAULT '[]',   -- JSON list; the table tags follows by trigger
  note            TEXT NOT NULL DEFAULT '',
  rating          INTEGER,
  tags_allowed    INTEGER NOT NULL DEFAULT 0,
  script          TEXT NOT NULL DEFAULT '',
  length          INTEGER NOT NULL DEFAULT 0,   -- characters of prompt and reply
  instruction     INTEGER,          -- characters of the prompt that are an Alpaca instruction
  created         REAL NOT NULL,
  updated         REAL NOT NULL,
  edited          REAL NOT NULL,    -- when prompt, reply or system last changed
  system          TEXT,
  prompt          TEXT NOT NULL,
  reply           TEXT NOT NULL,
  original        TEXT
);
CREATE INDEX exchanges_by_status ON exchanges (status, id);
CREATE INDEX exchanges_by_conversation ON exchanges (conversation_id, id);
CREATE INDEX exchanges_by_parent ON exchanges (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX exchanges_by_source ON exchanges (source, id);
CREATE INDEX exchanges_by_adapter ON exchanges (adapter, id);
CREATE INDEX exchanges_by_script ON exchanges (script, id);
CREATE INDEX exchanges_by_length ON exchanges (length, id);
CREATE INDEX exchanges_by_time ON exchanges (created);
CREATE INDEX exchanges_corrected ON exchanges (id) WHERE original IS NOT NULL;

CREATE TABLE tags (
  tag         TEXT NOT NULL,
  exchange_id INTEGER NOT NULL REFERENCES exchanges (id) ON DELETE CASCADE,
  PRIMARY KEY (tag, exchange_id)
) WITHOUT ROWID;
CREATE INDEX tags_by_exchange ON tags (exchange_id);
CREATE TRIGGER tags_of_new AFTER INSERT ON exchanges WHEN new.tags <> '[]' BEGIN
  INSERT OR IGNORE INTO tags SELECT value, new.id FROM json_each(new.tags);
END;
CREATE TRIGGER tags_of_changed AFTER UPDATE OF tags ON exchanges BEGIN
  DELETE FROM tags WHERE exchange_id = new.id;
  INSERT OR IGNORE INTO tags SELECT value, new.id FROM json_each(new.tags);
END;

-- Every reply that a correction replaced, the first one included.
CREATE TABLE corrections (
  id          INTEGER PRIMARY KEY,
  exchange_id INTEGER NOT NULL REFERENCES exchanges (id) ON DELETE CASCADE,
  reply       TEXT NOT NULL,
  created     REAL NOT NULL
);
CREATE INDEX corrections_by_exchange ON corrections (exchange_id, id);

CREATE TABLE verdicts (
  id            INTEGER PRIMARY KEY,
  dialog        TEXT NOT NULL,      -- JSON
  left_reply    TEXT NOT NULL,
  right_reply   TEXT NOT NULL,
  left_adapter  TEXT NOT NULL,
  right_adapter TEXT NOT NULL,
  vote          TEXT NOT NULL,
  blind         INTEGER NOT NULL,
  created       REAL NOT NULL
);

CREATE TABLE preferences (
  id          INTEGER PRIMARY KEY,
  key         TEXT NOT NULL UNIQUE, -- hash of the content
  dialog      TEXT NOT NULL,        -- JSON
  chosen      TEXT NOT NULL,
  rejected    TEXT NOT NULL,
  source      TEXT NOT NULL,
  exchange_id INTEGER REFERENCES exchanges (id) ON DELETE SET NULL,
  verdict_id  INTEGER REFERENCES verdicts (id) ON DELETE SET NULL,
  created     REAL NOT NULL
);
CREATE INDEX preferences_by_exchange ON preferences (exchange_id) WHERE exchange_id IS NOT NULL;

-- What each version has seen; an exchange edited after `at` counts as unseen again.
CREATE TABLE trained (
  exchange_id INTEGER NOT NULL REFERENCES exchanges (id) ON DELETE CASCADE,
  adapter     TEXT NOT NULL,
  at          REAL NOT NULL,
  PRIMARY KEY (exchange_id, adapter)
) WITHOUT ROWID;
CREATE INDEX trained_by_adapter ON trained (adapter, exchange_id);

-- One row for each action that can be undone: how to put the rows back, as JSON.
CREATE TABLE actions (
  id      INTEGER PRIMARY KEY,
  label   TEXT NOT NULL,
  before  TEXT NOT NULL,
  created REAL NOT NULL
);

-- Rows that could not be read, as they were found.
CREATE TABLE set_aside (
  id      INTEGER PRIMARY KEY,
  origin  TEXT NOT NULL,
  reason  TEXT NOT NULL,
  content BLOB,
  created REAL NOT NULL
);

-- Trigrams of prompts and replies. Exchanges above `upto` are not in it yet: an import would wait for it.
CREATE VIRTUAL TABLE exchange_text USING fts5 (
  prompt, reply, content = 'exchanges', content_rowid = 'id', tokenize = 'trigram', detail = none, columnsize = 0
);
CREATE TABLE indexed (upto INTEGER NOT NULL);
INSERT INTO indexed VALUES (0);
CREATE TRIGGER text_of_changed AFTER UPDATE OF prompt, reply ON exchanges
WHEN old.id <= (SELECT upto FROM indexed) AND (old.prompt <> new.prompt OR old.reply <> new.reply) BEGIN
  INSERT INTO exchange_text (exchange_text, rowid, prompt, reply) VALUES ('delete', old.id, old.prompt, old.reply);
  INSERT INTO exchange_text (rowid, prompt, reply) VALUES (new.id, new.prompt, new.reply);
END;
CREATE TRIGGER text_of_removed AFTER DELETE ON exchanges WHEN old.id <= (SELECT upto FROM indexed) BEGIN
  INSERT INTO exchange_text (exchange_text, rowid, prompt, reply) VALUES ('delete', old.id, old.prompt, old.reply);
END;
