BEGIN TRANSACTION;
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    label TEXT NOT NULL,
    state TEXT NOT NULL,
    position INTEGER NOT NULL,
    created_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    phase TEXT NOT NULL DEFAULT '',
    done INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    "values" TEXT NOT NULL DEFAULT '{}',
    phase_started_at REAL,
    phase_first_done INTEGER NOT NULL DEFAULT 0,
    progress_at REAL,
    error TEXT,
    result_key TEXT,
    started_at REAL,
    finished_at REAL,
    heartbeat_at REAL,
    cancel_requested_at REAL,
    pid INTEGER,
    pid_started_at REAL,
    host TEXT
);
INSERT INTO "jobs" VALUES(1,'645a1c66df','heal','{"block": {"start": 11, "size": 5}, "model": {"source": "starter", "revision": null, "dtype": "auto", "device": "auto", "quantization": "4bit", "identity": ""}, "corpus": {"source": "wiki", "n_texts": 2000, "seq_len": 256, "split": "train", "seed": 0, "identity": ""}, "validation": {"source": "wiki", "n_texts": 8, "seq_len": 256, "split": "validation", "seed": 0, "identity": ""}, "benchmark": {"task": "arc_easy", "limit": 100, "shots": null, "seed": 0, "identity": "", "subset": [], "protocol": "harness"}, "recipe": "custom", "steps": 7, "instant": false, "distill": 0.0, "batch_size": 4, "gradient_accumulation": 1, "learning_rate": 0.0003, "warmup_steps": 5, "r": 16, "lora_dropout": 0.05, "eval_every": 10, "seed": 0}','1e76b453d341dd18260c','Heal of the starter model','done',1,1.7955724000784254e+09,1,'healing',3,7,'Going on.','{"step": 3}',1.0,0,2.0,NULL,'0123456789abcdef0123',1.79557240009616041e+09,1.79557240012641048e+09,1.79557240009616041e+09,NULL,4242,1700000000.0,'old-host');
INSERT INTO "jobs" VALUES(2,'b43f66c136','sweep','{"model": {"source": "starter", "revision": null, "dtype": "auto", "device": "auto", "quantization": "none", "identity": ""}, "benchmark": {"task": "arc_easy", "limit": 100, "shots": null, "seed": 0, "identity": "", "subset": [], "protocol": "harness"}, "loss_corpus": {"source": "wiki", "n_texts": 8, "seq_len": 256, "split": "validation", "seed": 0, "identity": ""}, "distances": {"model": {"source": "starter", "revision": null, "dtype": "auto", "device": "auto", "quantization": "none", "identity": ""}, "corpus": {"source": "c4", "n_texts": 32, "seq_len": 256, "split": "all", "seed": 0, "identity": ""}, "metric": "angular"}, "strategy": "similarity", "max_n": null, "draw": 0, "blocks": [], "damage": null, "generation": null}','ce0457f318273b1e9d14','A curve','failed',2,1.79557240015419316e+09,1,'',0,0,'','{}',NULL,0,NULL,'The disk is full.',NULL,1.7955724001759355e+09,1.7955724001982913e+09,1.7955724001759355e+09,NULL,4242,1700000000.0,'old-host');
INSERT INTO "jobs" VALUES(3,'379aeb219e','distances','{"model": {"source": "starter", "revision": null, "dtype": "auto", "device": "auto", "quantization": "none", "identity": ""}, "corpus": {"source": "c4", "n_texts": 32, "seq_len": 256, "split": "all", "seed": 0, "identity": ""}, "metric": "angular"}','770eb5434f1c108d2e2a','A map','running',3,1.79557240021414041e+09,1,'',0,0,'','{}',NULL,0,NULL,NULL,NULL,1.79557240023156285e+09,NULL,1.79557240023156285e+09,1.79557240025082898e+09,4242,1700000000.0,'old-host');
INSERT INTO "jobs" VALUES(4,'e96a70648b','distances','{"model": {"source": "starter", "revision": null, "dtype": "auto", "device": "auto", "quantization": "none", "identity": ""}, "corpus": {"source": "c4", "n_texts": 32, "seq_len": 256, "split": "all", "seed": 1, "identity": ""}, "metric": "angular"}','558c7604ced96b6bf825','Map 1','queued',4,1.79557240027414774e+09,0,'',0,0,'','{}',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "jobs" VALUES(5,'eaeafda6b2','distances','{"model": {"source": "starter", "revision": null, "dtype": "auto", "device": "auto", "quantization": "none", "identity": ""}, "corpus": {"source": "c4", "n_texts": 32, "seq_len": 256, "split": "all", "seed": 2, "identity": ""}, "metric": "angular"}','d3a2af299bffba7daca6','Map 2','queued',5,1.79557240029420256e+09,0,'',0,0,'','{}',NULL,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',5);
COMMIT;
PRAGMA user_version = 1;
