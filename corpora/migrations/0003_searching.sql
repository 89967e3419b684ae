-- Every text is indexed with two marks after it, so that words of two letters begin a trigram wherever they stand.
-- printf ends a text at its first NUL, as LIKE and the index do.

DROP TRIGGER text_of_changed;
DROP TRIGGER text_of_removed;
DROP TABLE exchange_text;

CREATE VIEW searched_text (id, prompt, reply) AS
SELECT id, printf('%s%s', prompt, char(2, 2)), printf('%s%s', reply, char(2, 2)) FROM exchanges;
CREATE VIRTUAL TABLE exchange_text USING fts5 (
  prompt, reply, content = 'searched_text', content_rowid = 'id', tokenize = 'trigram', detail = none, columnsize = 0
);
CREATE VIRTUAL TABLE exchange_terms USING fts5vocab (exchange_text, row);
UPDATE indexed SET upto = 0;

CREATE TRIGGER text_of_changed AFTER UPDATE OF prompt, reply ON exchanges
WHEN old.id <= (SELECT upto FROM indexed) AND (old.prompt <> new.prompt OR old.reply <> new.reply) BEGIN
  INSERT INTO exchange_text (exchange_text, rowid, prompt, reply)
  VALUES ('delete', old.id, printf('%s%s', old.prompt, char(2, 2)), printf('%s%s', old.reply, char(2, 2)));
  INSERT INTO exchange_text (rowid, prompt, reply)
  VALUES (new.id, printf('%s%s', new.prompt, char(2, 2)), printf('%s%s', new.reply, char(2, 2)));
END;
CREATE TRIGGER text_of_removed AFTER DELETE ON exchanges WHEN old.id <= (SELECT upto FROM indexed) BEGIN
  INSERT INTO exchange_text (exchange_text, rowid, prompt, reply)
  VALUES ('delete', old.id, printf('%s%s', old.prompt, char(2, 2)), printf('%s%s', old.reply, char(2, 2)));
END;

-- What is said in imported dialogs that were changed or gone on with is looked for before an import.
CREATE INDEX exchanges_edited ON exchanges (conversation_id) WHERE edited <> created;
