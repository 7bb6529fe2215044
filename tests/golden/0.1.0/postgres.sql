SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.attempts (
    request character varying(32) NOT NULL,
    number integer NOT NULL,
    target character varying(256) NOT NULL,
    reason character varying(16) NOT NULL,
    status integer NOT NULL,
    error character varying(64) NOT NULL,
    input bigint NOT NULL,
    output bigint NOT NULL,
    cache_read bigint NOT NULL,
    cache_write bigint NOT NULL,
    reasoning bigint NOT NULL,
    cost bigint,
    estimated boolean NOT NULL,
    duration_ms integer NOT NULL
);
CREATE TABLE public.audit (
    number integer NOT NULL,
    at_ms bigint NOT NULL,
    actor character varying(128) NOT NULL,
    action character varying(64) NOT NULL,
    subject character varying(256) NOT NULL,
    detail text NOT NULL,
    previous character varying(64) NOT NULL,
    hash character varying(64) NOT NULL
);
CREATE TABLE public.keys (
    id character varying(16) NOT NULL,
    digest character varying(64) NOT NULL,
    app character varying(128) NOT NULL,
    name character varying(128) NOT NULL,
    options text NOT NULL,
    created_ms bigint NOT NULL,
    expires_ms bigint,
    revoked_ms bigint,
    replaces character varying(16)
);
CREATE TABLE public.meta (
    name character varying(64) NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.parties (
    kind character varying(16) NOT NULL,
    name character varying(128) NOT NULL,
    options text NOT NULL,
    created_ms bigint NOT NULL
);
CREATE TABLE public.requests (
    id character varying(32) NOT NULL,
    request_id character varying(160) NOT NULL,
    trace_id character varying(32) NOT NULL,
    at_ms bigint NOT NULL,
    organisation character varying(128) NOT NULL,
    team character varying(128) NOT NULL,
    app character varying(128) NOT NULL,
    key character varying(128) NOT NULL,
    "user" character varying(128) NOT NULL,
    surface character varying(64) NOT NULL,
    model character varying(256) NOT NULL,
    target character varying(256) NOT NULL,
    status integer NOT NULL,
    outcome character varying(16) NOT NULL,
    error character varying(64) NOT NULL,
    cache character varying(16) NOT NULL,
    stream boolean NOT NULL,
    attempts integer NOT NULL,
    input bigint NOT NULL,
    output bigint NOT NULL,
    cache_read bigint NOT NULL,
    cache_write bigint NOT NULL,
    reasoning bigint NOT NULL,
    cost bigint,
    estimated boolean NOT NULL,
    duration_ms integer NOT NULL
);
CREATE TABLE public.usage_by_hour (
    hour_ms bigint NOT NULL,
    organisation character varying(128) NOT NULL,
    team character varying(128) NOT NULL,
    app character varying(128) NOT NULL,
    key character varying(128) NOT NULL,
    "user" character varying(128) NOT NULL,
    model character varying(256) NOT NULL,
    target character varying(256) NOT NULL,
    requests bigint NOT NULL,
    failures bigint NOT NULL,
    unpriced bigint NOT NULL,
    input bigint NOT NULL,
    output bigint NOT NULL,
    cache_read bigint NOT NULL,
    cache_write bigint NOT NULL,
    reasoning bigint NOT NULL,
    cost bigint NOT NULL
);
INSERT INTO public.alembic_version VALUES ('0001');
INSERT INTO public.attempts VALUES ('18d75b8423f300000000000000000000', 1, 'prov/mini', 'first', 200, '', 1000, 20, 300, 4, 5, 1234567890, false, 200);
INSERT INTO public.attempts VALUES ('18d75b845f8dca000000000000000001', 1, 'prov/mini', 'first', 503, 'server_error', 0, 0, 0, 0, 0, 0, false, 200);
INSERT INTO public.attempts VALUES ('18d75b845f8dca000000000000000001', 2, 'prov/mini', 'fallback', 200, '', 1000, 20, 300, 4, 5, 1234567890, false, 200);
INSERT INTO public.attempts VALUES ('18d75b849b2894000000000000000002', 1, 'prov/mini', 'first', 200, '', 1000, 20, 300, 4, 5, 1234567890, true, 200);
INSERT INTO public.attempts VALUES ('18d75b84d6c35e000000000000000003', 1, 'prov/mini', 'first', 200, '', 1000, 20, 300, 4, 5, NULL, false, 200);
INSERT INTO public.audit VALUES (1, 1790000000000, 'golden', 'organisation.create', 'acme', '{"before":null,"options":{"budget":"5 USD per day"}}', '0000000000000000000000000000000000000000000000000000000000000000', '41f47dcaacce9fac2ebb9ae15f091aa96454540bc347ebe7c751cca205acf6c5');
INSERT INTO public.audit VALUES (2, 1790000000000, 'golden', 'team.create', 'blue', '{"before":null,"options":{"organisation":"acme"}}', '41f47dcaacce9fac2ebb9ae15f091aa96454540bc347ebe7c751cca205acf6c5', '2cf6bde97dc6c09ba53c241c564d33c3621738f5759c0bb7e22be5da122f58e6');
INSERT INTO public.audit VALUES (3, 1790000000000, 'golden', 'app.create', 'bot', '{"before":null,"options":{"models":["quick"],"team":"blue"}}', '2cf6bde97dc6c09ba53c241c564d33c3621738f5759c0bb7e22be5da122f58e6', 'c3f9889baab7fa59266841ac27f762abda2657da47d1be0c7dff22aab7e56366');
INSERT INTO public.audit VALUES (4, 1790000000000, 'golden', 'key.create', 'fzruwsmur2', '{"app":"bot","expires_ms":0,"name":"Zo\u00eb''s","options":"{\"models\": [\"quick\"]}"}', 'c3f9889baab7fa59266841ac27f762abda2657da47d1be0c7dff22aab7e56366', '3b863a133a2a897739372988ee09c8e4154c64e0141871b868d2744677dae081');
INSERT INTO public.audit VALUES (5, 1790000000000, 'golden', 'key.create', '9cipyqjtg9', '{"app":"bot","expires_ms":1797776000000,"name":"","options":"{}"}', '3b863a133a2a897739372988ee09c8e4154c64e0141871b868d2744677dae081', '5404a3263bd1ca25ba43fb1167b272efa2ddbe9aad41aebb6eeffe9b5480d9d2');
INSERT INTO public.audit VALUES (6, 1790000000000, 'golden', 'key.rotate', '9cipyqjtg9', '{"new":"v3r6pm7bfz","old_ends_ms":1790003600000}', '5404a3263bd1ca25ba43fb1167b272efa2ddbe9aad41aebb6eeffe9b5480d9d2', 'ca406cba449410d2f48a2b97216f78bc4fdf4a4559ee6bc7709ded5f7570982a');
INSERT INTO public.audit VALUES (7, 1790000000000, 'golden', 'key.revoke', '9cipyqjtg9', '{}', 'ca406cba449410d2f48a2b97216f78bc4fdf4a4559ee6bc7709ded5f7570982a', '400c97b0c4d305f9e5053e860481fbeb47dbe1ece2a90c3d80848788e2b97e2a');
INSERT INTO public.audit VALUES (8, 1790000000000, 'gatehouse', 'budget.threshold', 'app:bot', '{"share":0.8,"\u00e9":[1,null]}', '400c97b0c4d305f9e5053e860481fbeb47dbe1ece2a90c3d80848788e2b97e2a', 'f4de9cb46326b8a7b8b4abfce2d0ef3ffa195935115e26012f5d8d4cee57d39e');
INSERT INTO public.keys VALUES ('fzruwsmur2', 'ff15eca1297400e4cb672ea0c73d3329b5265afe5b9faf75a70557fefd874daf', 'bot', 'Zoë''s', '{"models": ["quick"]}', 1790000000000, NULL, NULL, NULL);
INSERT INTO public.keys VALUES ('v3r6pm7bfz', '7efc332fd86fc1957fe4ae8b0b089abc09500d15cd0f5d1a3356934078cd8282', 'bot', '', '{}', 1790000000000, 1797776000000, NULL, '9cipyqjtg9');
INSERT INTO public.keys VALUES ('9cipyqjtg9', '6d2a8c292675fb7e98bca7fd068391a5337fb97dde11710e11d3f8c4aee4353d', 'bot', '', '{}', 1790000000000, 1790003600000, 1790000000000, NULL);
INSERT INTO public.meta VALUES ('pepper', 140062088825129);
INSERT INTO public.meta VALUES ('callers', 7);
INSERT INTO public.parties VALUES ('organisation', 'acme', '{"budget": "5 USD per day"}', 1790000000000);
INSERT INTO public.parties VALUES ('team', 'blue', '{"organisation": "acme"}', 1790000000000);
INSERT INTO public.parties VALUES ('app', 'bot', '{"team": "blue", "models": ["quick"]}', 1790000000000);
INSERT INTO public.requests VALUES ('18d75b8423f300000000000000000000', 'req_0', '00000000000000000000000000000000', 1790000000000, 'acme', 'blue', 'bot', 'abcdefghij', '', 'POST /v1/chat/completions', 'quick', 'prov/mini', 200, 'ok', '', 'off', false, 1, 1000, 20, 300, 4, 5, 1234567890, false, 250);
INSERT INTO public.requests VALUES ('18d75b845f8dca000000000000000001', 'req_1', '00000000000000000000000000000001', 1790000001000, 'acme', 'blue', 'bot', 'abcdefghij', 'Zoë 王', 'POST /v1/chat/completions', 'quick', 'prov/mini', 200, 'ok', '', 'off', true, 2, 1000, 20, 300, 4, 5, 1234567890, false, 250);
INSERT INTO public.requests VALUES ('18d75b849b2894000000000000000002', 'req_2', '00000000000000000000000000000002', 1790000002000, 'acme', 'blue', 'bot', 'abcdefghij', '', 'POST /v1/chat/completions', 'quick', 'prov/mini', 0, 'cut', 'timeout', 'off', false, 1, 1000, 20, 300, 4, 5, 1234567890, true, 250);
INSERT INTO public.requests VALUES ('18d75b84d6c35e000000000000000003', 'req_3', '00000000000000000000000000000003', 1790000003000, 'acme', 'blue', 'bot', 'abcdefghij', 'Zoë 王', 'POST /v1/chat/completions', 'quick', 'prov/mini', 200, 'ok', '', 'off', false, 1, 1000, 20, 300, 4, 5, NULL, false, 250);
INSERT INTO public.requests VALUES ('18d75b85125e28000000000000000004', 'req_4', '00000000000000000000000000000004', 1790000004000, 'acme', 'blue', 'bot', 'abcdefghij', '', 'POST /v1/chat/completions', 'quick', '', 200, 'ok', '', 'exact', false, 0, 0, 0, 0, 0, 0, 0, false, 250);
INSERT INTO public.requests VALUES ('18d75b854df8f2000000000000000005', 'req_5', '00000000000000000000000000000005', 1790000005000, 'acme', 'blue', 'bot', 'abcdefghij', 'Zoë 王', 'POST /v1/chat/completions', 'quick', '', 429, 'refused', 'rate_limited', 'off', false, 0, 0, 0, 0, 0, 0, 0, false, 250);
INSERT INTO public.usage_by_hour VALUES (1789999200000, 'acme', 'blue', 'bot', 'abcdefghij', '', 'quick', '', 1, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.usage_by_hour VALUES (1789999200000, 'acme', 'blue', 'bot', 'abcdefghij', '', 'quick', 'prov/mini', 2, 1, 0, 2000, 40, 600, 8, 10, 2469135780);
INSERT INTO public.usage_by_hour VALUES (1789999200000, 'acme', 'blue', 'bot', 'abcdefghij', 'Zoë 王', 'quick', '', 1, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO public.usage_by_hour VALUES (1789999200000, 'acme', 'blue', 'bot', 'abcdefghij', 'Zoë 王', 'quick', 'prov/mini', 2, 0, 1, 2000, 40, 600, 8, 10, 1234567890);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (request, number);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.keys
    ADD CONSTRAINT keys_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.parties
    ADD CONSTRAINT parties_pkey PRIMARY KEY (kind, name);
ALTER TABLE ONLY public.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.usage_by_hour
    ADD CONSTRAINT usage_by_hour_pkey PRIMARY KEY (hour_ms, organisation, team, app, key, "user", model, target);
CREATE INDEX keys_by_app ON public.keys USING btree (app);
CREATE INDEX requests_by_app ON public.requests USING btree (app, id);
CREATE INDEX requests_by_key ON public.requests USING btree (key, id);
CREATE INDEX requests_by_model ON public.requests USING btree (model, id);
CREATE INDEX requests_by_organisation ON public.requests USING btree (organisation, id);
CREATE INDEX requests_by_outcome ON public.requests USING btree (outcome, id);
CREATE INDEX requests_by_request_id ON public.requests USING btree (request_id, id);
CREATE INDEX requests_by_status ON public.requests USING btree (status, id);
CREATE INDEX requests_by_target ON public.requests USING btree (target, id);
CREATE INDEX requests_by_team ON public.requests USING btree (team, id);
CREATE INDEX requests_by_user ON public.requests USING btree ("user", id);
