-- The users of Tally in a ClickHouse server, each with the least that its work needs, for the database `tally`. Run it as an administrator:
--     clickhouse-client --multiquery < deploy/clickhouse-users.sql
-- Nobody knows a password for these users until you give them one (the hash of nothing in particular stands here):
--     ALTER USER tally_writer IDENTIFIED WITH sha256_password BY '...';
-- Then: tally clickhouse migrate JOB --clickhouse https://tally_migrator@host:8443/tally
--       tally run JOB --clickhouse https://tally_writer@host:8443/tally ...

CREATE SETTINGS PROFILE IF NOT EXISTS tally_writes SETTINGS
    async_insert = 0,
    insert_deduplicate = 0,
    distributed_foreground_insert = 1;

-- 2: settings of a query may be chosen (formats, limits), data may not be changed.
CREATE SETTINGS PROFILE IF NOT EXISTS tally_reads SETTINGS
    readonly = 2,
    max_execution_time = 600,
    max_memory_usage = 4000000000;

CREATE USER IF NOT EXISTS tally_writer
    IDENTIFIED WITH sha256_hash BY '0000000000000000000000000000000000000000000000000000000000000000' SETTINGS PROFILE 'tally_writes';
CREATE USER IF NOT EXISTS tally_promoter
    IDENTIFIED WITH sha256_hash BY '0000000000000000000000000000000000000000000000000000000000000000' SETTINGS PROFILE 'tally_writes';
CREATE USER IF NOT EXISTS tally_reader
    IDENTIFIED WITH sha256_hash BY '0000000000000000000000000000000000000000000000000000000000000000' SETTINGS PROFILE 'tally_reads';
CREATE USER IF NOT EXISTS tally_migrator
    IDENTIFIED WITH sha256_hash BY '0000000000000000000000000000000000000000000000000000000000000000' SETTINGS PROFILE 'tally_writes';

-- tally run: counts into tables that are there, and looks whether they are as they should be. It makes and drops nothing.
GRANT SELECT, INSERT ON tally.* TO tally_writer;
GRANT SELECT ON system.databases TO tally_writer;
GRANT SELECT ON system.tables TO tally_writer;
GRANT SELECT ON system.columns TO tally_writer;
GRANT SELECT ON system.clusters TO tally_writer;

-- Says which generation of the tables is live, and writes down that it did.
GRANT SELECT ON tally.* TO tally_promoter;
GRANT INSERT ON tally.tally_generations_rows TO tally_promoter;
GRANT INSERT ON tally.tally_audit_rows TO tally_promoter;
GRANT SELECT ON system.databases TO tally_promoter;
GRANT SELECT ON system.tables TO tally_promoter;
GRANT SELECT ON system.columns TO tally_promoter;

-- People and their tools, tally query and tally verify.
GRANT SELECT ON tally.* TO tally_reader;
GRANT SELECT ON system.databases TO tally_reader;
GRANT SELECT ON system.tables TO tally_reader;
GRANT SELECT ON system.columns TO tally_reader;

-- tally clickhouse migrate: makes tables and views. It may drop no table: a view that is out of date is dropped and made again.
GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP VIEW ON tally.* TO tally_migrator;
GRANT SELECT ON tally.* TO tally_migrator;
GRANT INSERT ON tally.tally_tables_rows TO tally_migrator;
GRANT TABLE ENGINE ON ReplacingMergeTree TO tally_migrator;
GRANT SELECT ON system.databases TO tally_migrator;
GRANT SELECT ON system.tables TO tally_migrator;
GRANT SELECT ON system.columns TO tally_migrator;
-- For a cluster.
GRANT CLUSTER ON *.* TO tally_migrator;
GRANT REMOTE ON *.* TO tally_migrator;
GRANT INSERT ON tally.tally_tables_rows_local TO tally_migrator;
GRANT TABLE ENGINE ON ReplicatedReplacingMergeTree TO tally_migrator;
GRANT TABLE ENGINE ON Distributed TO tally_migrator;
GRANT SELECT ON system.clusters TO tally_migrator;
