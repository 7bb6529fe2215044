BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE attempts (
	request VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	target VARCHAR(256) NOT NULL, 
	reason VARCHAR(16) NOT NULL, 
	status INTEGER NOT NULL, 
	error VARCHAR(64) NOT NULL, 
	input BIGINT NOT NULL, 
	output BIGINT NOT NULL, 
	cache_read BIGINT NOT NULL, 
	cache_write BIGINT NOT NULL, 
	reasoning BIGINT NOT NULL, 
	cost BIGINT, 
	estimated BOOLEAN NOT NULL, 
	duration_ms INTEGER NOT NULL, 
	PRIMARY KEY (request, number)
);
INSERT INTO "attempts" VALUES('18d75b8423f300000000000000000000',1,'prov/mini','first',200,'',1000,20,300,4,5,1234567890,0,200);
INSERT INTO "attempts" VALUES('18d75b845f8dca000000000000000001',1,'prov/mini','first',503,'server_error',0,0,0,0,0,0,0,200);
INSERT INTO "attempts" VALUES('18d75b845f8dca000000000000000001',2,'prov/mini','fallback',200,'',1000,20,300,4,5,1234567890,0,200);
INSERT INTO "attempts" VALUES('18d75b849b2894000000000000000002',1,'prov/mini','first',200,'',1000,20,300,4,5,1234567890,1,200);
INSERT INTO "attempts" VALUES('18d75b84d6c35e000000000000000003',1,'prov/mini','first',200,'',1000,20,300,4,5,NULL,0,200);
CREATE TABLE audit (
	number INTEGER NOT NULL, 
	at_ms BIGINT NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	subject VARCHAR(256) NOT NULL, 
	detail TEXT NOT NULL, 
	previous VARCHAR(64) NOT NULL, 
	hash VARCHAR(64) NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "audit" VALUES(1,1790000000000,'golden','organisation.create','acme','{"before":null,"options":{"budget":"5 USD per day"}}','0000000000000000000000000000000000000000000000000000000000000000','41f47dcaacce9fac2ebb9ae15f091aa96454540bc347ebe7c751cca205acf6c5');
INSERT INTO "audit" VALUES(2,1790000000000,'golden','team.create','blue','{"before":null,"options":{"organisation":"acme"}}','41f47dcaacce9fac2ebb9ae15f091aa96454540bc347ebe7c751cca205acf6c5','2cf6bde97dc6c09ba53c241c564d33c3621738f5759c0bb7e22be5da122f58e6');
INSERT INTO "audit" VALUES(3,1790000000000,'golden','app.create','bot','{"before":null,"options":{"models":["quick"],"team":"blue"}}','2cf6bde97dc6c09ba53c241c564d33c3621738f5759c0bb7e22be5da122f58e6','c3f9889baab7fa59266841ac27f762abda2657da47d1be0c7dff22aab7e56366');
INSERT INTO "audit" VALUES(4,1790000000000,'golden','key.create','fky83h395z','{"app":"bot","expires_ms":0,"name":"Zo\u00eb''s","options":"{\"models\": [\"quick\"]}"}','c3f9889baab7fa59266841ac27f762abda2657da47d1be0c7dff22aab7e56366','b58dd0ec3b0bc3c3890c7b73c2019c38805771ad992ad0aba0f2286d99a6be08');
INSERT INTO "audit" VALUES(5,1790000000000,'golden','key.create','iya6uftr3u','{"app":"bot","expires_ms":1797776000000,"name":"","options":"{}"}','b58dd0ec3b0bc3c3890c7b73c2019c38805771ad992ad0aba0f2286d99a6be08','08c71d7e55b771db7d4803e23eb70a4ab71be3b1b486a0b3a7fc5469a4d088b0');
INSERT INTO "audit" VALUES(6,1790000000000,'golden','key.rotate','iya6uftr3u','{"new":"a73ih6jz8k","old_ends_ms":1790003600000}','08c71d7e55b771db7d4803e23eb70a4ab71be3b1b486a0b3a7fc5469a4d088b0','190ea723b1a1b1d76a80db18b4f3781b62fcbd81f09457bb266c4b3e571d5a01');
INSERT INTO "audit" VALUES(7,1790000000000,'golden','key.revoke','iya6uftr3u','{}','190ea723b1a1b1d76a80db18b4f3781b62fcbd81f09457bb266c4b3e571d5a01','b24f2a2092fcf4afb0d128f5a2b012e2eb2ea2f9c1df7734937b295828151bc5');
INSERT INTO "audit" VALUES(8,1790000000000,'gatehouse','budget.threshold','app:bot','{"share":0.8,"\u00e9":[1,null]}','b24f2a2092fcf4afb0d128f5a2b012e2eb2ea2f9c1df7734937b295828151bc5','bd459772281b3c8c20894adf72d773aec8742d705ef8c1786dd3558701004cde');
CREATE TABLE keys (
	id VARCHAR(16) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	app VARCHAR(128) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	options TEXT NOT NULL, 
	created_ms BIGINT NOT NULL, 
	expires_ms BIGINT, 
	revoked_ms BIGINT, 
	replaces VARCHAR(16), 
	PRIMARY KEY (id)
);
INSERT INTO "keys" VALUES('fky83h395z','abd202d9bab1090e73a642ab6433e103ffb83c057e16cb756578f866175e219d','bot','Zoë''s','{"models": ["quick"]}',1790000000000,NULL,NULL,NULL);
INSERT INTO "keys" VALUES('iya6uftr3u','20194aec3d1e387df4df28dff8480720d7ec46b61ee8ac7e0410ec408c2d6720','bot','','{}',1790000000000,1790003600000,1790000000000,NULL);
INSERT INTO "keys" VALUES('a73ih6jz8k','d70cb713ed7dad7e091d4b6607c8efaedc98b4d73c52f6eb3e0ab57de3f1e2db','bot','','{}',1790000000000,1797776000000,NULL,'iya6uftr3u');
CREATE TABLE meta (
	name VARCHAR(64) NOT NULL, 
	value BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('callers',7);
INSERT INTO "meta" VALUES('pepper',140062088825129);
CREATE TABLE parties (
	kind VARCHAR(16) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	options TEXT NOT NULL, 
	created_ms BIGINT NOT NULL, 
	PRIMARY KEY (kind, name)
);
INSERT INTO "parties" VALUES('organisation','acme','{"budget": "5 USD per day"}',1790000000000);
INSERT INTO "parties" VALUES('team','blue','{"organisation": "acme"}',1790000000000);
INSERT INTO "parties" VALUES('app','bot','{"team": "blue", "models": ["quick"]}',1790000000000);
CREATE TABLE requests (
	id VARCHAR(32) NOT NULL, 
	request_id VARCHAR(160) NOT NULL, 
	trace_id VARCHAR(32) NOT NULL, 
	at_ms BIGINT NOT NULL, 
	organisation VARCHAR(128) NOT NULL, 
	team VARCHAR(128) NOT NULL, 
	app VARCHAR(128) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	user VARCHAR(128) NOT NULL, 
	surface VARCHAR(64) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	target VARCHAR(256) NOT NULL, 
	status INTEGER NOT NULL, 
	outcome VARCHAR(16) NOT NULL, 
	error VARCHAR(64) NOT NULL, 
	cache VARCHAR(16) NOT NULL, 
	stream BOOLEAN NOT NULL, 
	attempts INTEGER NOT NULL, 
	input BIGINT NOT NULL, 
	output BIGINT NOT NULL, 
	cache_read BIGINT NOT NULL, 
	cache_write BIGINT NOT NULL, 
	reasoning BIGINT NOT NULL, 
	cost BIGINT, 
	estimated BOOLEAN NOT NULL, 
	duration_ms INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "requests" VALUES('18d75b8423f300000000000000000000','req_0','00000000000000000000000000000000',1790000000000,'acme','blue','bot','abcdefghij','','POST /v1/chat/completions','quick','prov/mini',200,'ok','','off',0,1,1000,20,300,4,5,1234567890,0,250);
INSERT INTO "requests" VALUES('18d75b845f8dca000000000000000001','req_1','00000000000000000000000000000001',1790000001000,'acme','blue','bot','abcdefghij','Zoë 王','POST /v1/chat/completions','quick','prov/mini',200,'ok','','off',1,2,1000,20,300,4,5,1234567890,0,250);
INSERT INTO "requests" VALUES('18d75b849b2894000000000000000002','req_2','00000000000000000000000000000002',1790000002000,'acme','blue','bot','abcdefghij','','POST /v1/chat/completions','quick','prov/mini',0,'cut','timeout','off',0,1,1000,20,300,4,5,1234567890,1,250);
INSERT INTO "requests" VALUES('18d75b84d6c35e000000000000000003','req_3','00000000000000000000000000000003',1790000003000,'acme','blue','bot','abcdefghij','Zoë 王','POST /v1/chat/completions','quick','prov/mini',200,'ok','','off',0,1,1000,20,300,4,5,NULL,0,250);
INSERT INTO "requests" VALUES('18d75b85125e28000000000000000004','req_4','00000000000000000000000000000004',1790000004000,'acme','blue','bot','abcdefghij','','POST /v1/chat/completions','quick','',200,'ok','','exact',0,0,0,0,0,0,0,0,0,250);
INSERT INTO "requests" VALUES('18d75b854df8f2000000000000000005','req_5','00000000000000000000000000000005',1790000005000,'acme','blue','bot','abcdefghij','Zoë 王','POST /v1/chat/completions','quick','',429,'refused','rate_limited','off',0,0,0,0,0,0,0,0,0,250);
CREATE TABLE usage_by_hour (
	hour_ms BIGINT NOT NULL, 
	organisation VARCHAR(128) NOT NULL, 
	team VARCHAR(128) NOT NULL, 
	app VARCHAR(128) NOT NULL, 
	"key" VARCHAR(128) NOT NULL, 
	user VARCHAR(128) NOT NULL, 
	model VARCHAR(256) NOT NULL, 
	target VARCHAR(256) NOT NULL, 
	requests BIGINT NOT NULL, 
	failures BIGINT NOT NULL, 
	unpriced BIGINT NOT NULL, 
	input BIGINT NOT NULL, 
	output BIGINT NOT NULL, 
	cache_read BIGINT NOT NULL, 
	cache_write BIGINT NOT NULL, 
	reasoning BIGINT NOT NULL, 
	cost BIGINT NOT NULL, 
	PRIMARY KEY (hour_ms, organisation, team, app, "key", user, model, target)
);
INSERT INTO "usage_by_hour" VALUES(1789999200000,'acme','blue','bot','abcdefghij','','quick','',1,0,0,0,0,0,0,0,0);
INSERT INTO "usage_by_hour" VALUES(1789999200000,'acme','blue','bot','abcdefghij','','quick','prov/mini',2,1,0,2000,40,600,8,10,2469135780);
INSERT INTO "usage_by_hour" VALUES(1789999200000,'acme','blue','bot','abcdefghij','Zoë 王','quick','',1,0,0,0,0,0,0,0,0);
INSERT INTO "usage_by_hour" VALUES(1789999200000,'acme','blue','bot','abcdefghij','Zoë 王','quick','prov/mini',2,0,1,2000,40,600,8,10,1234567890);
CREATE INDEX keys_by_app ON keys (app);
CREATE INDEX requests_by_organisation ON requests (organisation, id);
CREATE INDEX requests_by_team ON requests (team, id);
CREATE INDEX requests_by_app ON requests (app, id);
CREATE INDEX requests_by_key ON requests ("key", id);
CREATE INDEX requests_by_user ON requests (user, id);
CREATE INDEX requests_by_model ON requests (model, id);
CREATE INDEX requests_by_target ON requests (target, id);
CREATE INDEX requests_by_status ON requests (status, id);
CREATE INDEX requests_by_outcome ON requests (outcome, id);
CREATE INDEX requests_by_request_id ON requests (request_id, id);
COMMIT;
PRAGMA user_version = 0;
