-- Who wrote a reply, who won a vote and who was trained is recorded as the version's identity: `base`, or the digest
-- of its content. This table names the versions: two with the same content have two names.

CREATE TABLE versions (
  id       INTEGER PRIMARY KEY,
  identity TEXT NOT NULL,
  address  TEXT NOT NULL,               -- NAME/vN: where the version is, or was before it was removed
  removed  INTEGER NOT NULL DEFAULT 0,
  UNIQUE (identity, address)
);
CREATE INDEX versions_by_address ON versions (address);

-- Every name that a version goes by: a removed one also by its bare address, unless another version has that now.
CREATE VIEW version_names (identity, name) AS
SELECT identity, address || CASE WHEN removed THEN ' (removed)' ELSE '' END FROM versions
UNION ALL
SELECT identity, address FROM versions AS gone
WHERE removed AND NOT EXISTS (SELECT 1 FROM versions WHERE address = gone.address AND NOT removed);

-- Has a row once the addresses that older programs recorded have been replaced by identities.
CREATE TABLE identified (at REAL NOT NULL);
