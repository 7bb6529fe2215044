BEGIN TRANSACTION;
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL, ordinal INTEGER NOT NULL, place TEXT NOT NULL,
    head TEXT NOT NULL, text TEXT NOT NULL, partition TEXT NOT NULL, digest BLOB NOT NULL
);
INSERT INTO "chunks" VALUES(1,'a.md',0,'page 1','Handbook','The safe is behind the clock.','staff',X'307D71404E0782205D3FA4D436F9065D');
INSERT INTO "chunks" VALUES(2,'a.md',1,'page 2','','Größe: 王','staff',X'9ABCC508DB66718E60B92BD67A4857ED');
INSERT INTO "chunks" VALUES(3,'b.md',0,'page 1','Handbook','The safe is behind the clock.','',X'307D71404E0782205D3FA4D436F9065D');
CREATE TABLE documents (
    id TEXT PRIMARY KEY, digest TEXT NOT NULL, title TEXT NOT NULL, labels TEXT NOT NULL, chunks INTEGER NOT NULL,
    updated REAL NOT NULL
) WITHOUT ROWID;
INSERT INTO "documents" VALUES('a.md','digest','Handbook','["staff"]',2,1.79578346967177486419e+09);
INSERT INTO "documents" VALUES('b.md','digest','Open','[]',1,1.79578346967206501968e+09);
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, chunk INTEGER NOT NULL, operation INTEGER NOT NULL
);
INSERT INTO "log" VALUES(1,1,0);
INSERT INTO "log" VALUES(2,2,0);
INSERT INTO "log" VALUES(3,3,0);
INSERT INTO "log" VALUES(4,1,1);
INSERT INTO "log" VALUES(5,3,1);
CREATE TABLE vectors (
    digest BLOB NOT NULL, embedder TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (digest, embedder)
) WITHOUT ROWID;
INSERT INTO "vectors" VALUES(X'307D71404E0782205D3FA4D436F9065D','golden',X'000000340038003A');
CREATE INDEX documents_by_labels ON documents (labels, id);
CREATE INDEX chunks_of ON chunks (document, ordinal);
CREATE INDEX chunks_by_digest ON chunks (digest);
CREATE INDEX log_of ON log (chunk);
COMMIT;
PRAGMA user_version = 1;
