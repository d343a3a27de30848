-- The comments in the words of the documentation.

COMMENT ON SCHEMA pipeline IS 'The load ledger of cursus: what was loaded, rejected, held and derived.';

COMMENT ON TABLE pipeline.run IS 'Extractions that were loaded into this database.';
COMMENT ON COLUMN pipeline.run.run_id IS 'Start of the run in UTC, such as 20261123T020000Z.';
COMMENT ON COLUMN pipeline.run.seq IS 'Number in the order of runs.';
COMMENT ON COLUMN pipeline.run.mode IS '`full` if every resource was read in full, else `delta`; NULL while the run is open.';
COMMENT ON COLUMN pipeline.run.state IS '`complete`, `partial`, `stopped` or `failed`; `open` while the run is open.';
COMMENT ON COLUMN pipeline.run.version IS 'Version of cursus that read it.';
COMMENT ON COLUMN pipeline.run.started_at IS 'When the run started.';
COMMENT ON COLUMN pipeline.run.finished_at IS 'When the run finished; NULL while it is open.';
COMMENT ON COLUMN pipeline.run.hits IS 'Requests that the run made.';
COMMENT ON COLUMN pipeline.run.selection IS 'What was asked for: select, exclude, full.';

COMMENT ON TABLE pipeline.load IS 'Loads, one row for each run, resource and table; written in the transaction that merged the rows.';
COMMENT ON COLUMN pipeline.load.id IS 'Order of writing.';
COMMENT ON COLUMN pipeline.load.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.load.run_id IS 'Run that was loaded.';
COMMENT ON COLUMN pipeline.load.seq IS 'Number of the run in the order of runs.';
COMMENT ON COLUMN pipeline.load.resource IS 'Resource that was read.';
COMMENT ON COLUMN pipeline.load.table_name IS 'Table that was merged into.';
COMMENT ON COLUMN pipeline.load.manifest_hash IS 'Fingerprint of the manifest; a resource that is completed later is loaded again.';
COMMENT ON COLUMN pipeline.load.mode IS '`full` or `delta`.';
COMMENT ON COLUMN pipeline.load.state IS '`complete`, `drifted` or `partial`.';
COMMENT ON COLUMN pipeline.load.window_start IS 'Start of the window of a delta; NULL for a full read.';
COMMENT ON COLUMN pipeline.load.window_end IS 'Server time up to which the read is known.';
COMMENT ON COLUMN pipeline.load.cursor IS 'Cursor from which the next delta reads; NULL if the read did not move it.';
COMMENT ON COLUMN pipeline.load.loaded_at IS 'When it was loaded.';
COMMENT ON COLUMN pipeline.load.staged IS 'Distinct rows that the pages hold.';
COMMENT ON COLUMN pipeline.load.inserted IS 'Rows inserted.';
COMMENT ON COLUMN pipeline.load.updated IS 'Rows updated.';
COMMENT ON COLUMN pipeline.load.unchanged IS 'Rows that the table had as they are.';
COMMENT ON COLUMN pipeline.load.deleted IS 'Rows deleted.';
COMMENT ON COLUMN pipeline.load.out_of_scope IS 'Rows that `where` or `within` of pipeline.toml excludes.';
COMMENT ON COLUMN pipeline.load.quarantined IS 'Rows rejected and put into quarantine.';
COMMENT ON COLUMN pipeline.load.unresolved IS 'Rows of a SELECT without a complete key, such as a campus name without a campus.';
COMMENT ON COLUMN pipeline.load.refused IS 'Deletes that the prune limit held.';
COMMENT ON COLUMN pipeline.load.kept IS 'Rows that are absent from the API and kept, because other rows refer to them.';
COMMENT ON COLUMN pipeline.load.dangling IS 'Dangling references: column name to count.';
COMMENT ON COLUMN pipeline.load.duration_ms IS 'Duration in milliseconds.';

COMMENT ON TABLE pipeline.quarantine IS 'Rejected rows. The record itself is in the staging directory, at the place named here.';
COMMENT ON COLUMN pipeline.quarantine.id IS 'Order of writing.';
COMMENT ON COLUMN pipeline.quarantine.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.quarantine.run_id IS 'Run that staged the record.';
COMMENT ON COLUMN pipeline.quarantine.resource IS 'Resource of the record.';
COMMENT ON COLUMN pipeline.quarantine.table_name IS 'Table that the row is for.';
COMMENT ON COLUMN pipeline.quarantine.file IS 'Page of the record, relative to the directory of the run; empty for a row of a SELECT.';
COMMENT ON COLUMN pipeline.quarantine.record_index IS 'Index of the record in the page, from 0.';
COMMENT ON COLUMN pipeline.quarantine.element_index IS 'Index in the nested array, from 0; NULL for the record itself.';
COMMENT ON COLUMN pipeline.quarantine.key IS 'Key of the row: column name to value; NULL if it cannot be read.';
COMMENT ON COLUMN pipeline.quarantine.parent IS 'Value of the column that names the owner; NULL if there is none.';
COMMENT ON COLUMN pipeline.quarantine.column_name IS 'Column at fault; NULL for the whole row.';
COMMENT ON COLUMN pipeline.quarantine.pointer IS 'Where the value is in the record.';
COMMENT ON COLUMN pipeline.quarantine.code IS 'Reject code: `type`, `null`, `key`, or `orphan` (the parent is missing; retried when parents are inserted); of earlier versions also `where` and `json`.';
COMMENT ON COLUMN pipeline.quarantine.reason IS 'Reject reason in words, without the value.';
COMMENT ON COLUMN pipeline.quarantine.created_at IS 'When it was rejected first.';
COMMENT ON COLUMN pipeline.quarantine.attempts IS 'How often a load or a retry has rejected it.';
COMMENT ON COLUMN pipeline.quarantine.due IS 'The last retry of the orphan failed, so the next load retries it.';

COMMENT ON TABLE pipeline.prune_candidate IS 'Delete candidates that were not deleted: held by the prune limit, or kept because other rows refer to them.';
COMMENT ON COLUMN pipeline.prune_candidate.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.prune_candidate.run_id IS 'Run that lacks the row.';
COMMENT ON COLUMN pipeline.prune_candidate.resource IS 'Resource that lacks the row.';
COMMENT ON COLUMN pipeline.prune_candidate.table_name IS 'Table of the row.';
COMMENT ON COLUMN pipeline.prune_candidate.key IS 'Key of the row: column name to value.';
COMMENT ON COLUMN pipeline.prune_candidate.reason IS 'Why the row is a delete candidate, in words.';
COMMENT ON COLUMN pipeline.prune_candidate.created_at IS 'Since when the delete is held or the row is kept.';
COMMENT ON COLUMN pipeline.prune_candidate.approved_at IS 'When the delete was approved; NULL until then.';
COMMENT ON COLUMN pipeline.prune_candidate.referred_by IS 'Table whose rows refer to the row, so that it is kept; NULL for a held delete.';

COMMENT ON TABLE pipeline.drift IS 'Schema drift: changes of the shape of the API''s records.';
COMMENT ON COLUMN pipeline.drift.id IS 'Order of writing.';
COMMENT ON COLUMN pipeline.drift.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.drift.run_id IS 'Run that shows it first.';
COMMENT ON COLUMN pipeline.drift.resource IS 'Resource of the records.';
COMMENT ON COLUMN pipeline.drift.path IS 'Path of the field in the record.';
COMMENT ON COLUMN pipeline.drift.kind IS '`new`: the field is new; `gone`: no record has it; `type`: its values are of another type.';
COMMENT ON COLUMN pipeline.drift.first_file IS 'First page that shows it.';
COMMENT ON COLUMN pipeline.drift.created_at IS 'When it was recorded.';

COMMENT ON TABLE pipeline.shape IS 'Fields of each resource''s records, from samples; their changes are in pipeline.drift.';
COMMENT ON COLUMN pipeline.shape.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.shape.resource IS 'Resource of the records.';
COMMENT ON COLUMN pipeline.shape.fields IS 'Path to: types of its values, whether every record has it, and how many records lacked it since it was last present.';
COMMENT ON COLUMN pipeline.shape.run_id IS 'Run that changed it last.';

COMMENT ON TABLE pipeline.derive_failed IS 'Derived statements whose last execution failed; the next load runs them again.';
COMMENT ON COLUMN pipeline.derive_failed.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.derive_failed.derive IS 'Name of the statement.';
COMMENT ON COLUMN pipeline.derive_failed.run_id IS 'Run during whose load it failed.';
COMMENT ON COLUMN pipeline.derive_failed.created_at IS 'When it failed first.';

COMMENT ON COLUMN pipeline.source.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.source.adopted_at IS 'When another staging directory or another API replaced the one before; NULL if that never happened.';

COMMENT ON COLUMN pipeline.freshness.schema_name IS 'Schema of the mirror.';
COMMENT ON COLUMN pipeline.freshness.resource IS 'Resource that was read.';
COMMENT ON COLUMN pipeline.freshness.run_id IS 'Last run loaded.';
COMMENT ON COLUMN pipeline.freshness.mode IS '`full` or `delta`.';
COMMENT ON COLUMN pipeline.freshness.state IS '`complete`, `drifted` or `partial`.';
COMMENT ON COLUMN pipeline.freshness.loaded_at IS 'When it was loaded.';
COMMENT ON COLUMN pipeline.freshness.age IS 'Time since the data were current at the API; NULL if this read was never complete or drifted.';
COMMENT ON COLUMN pipeline.freshness.cursor IS 'Cursor from which the next delta reads; NULL for a resource that is always read in full.';
COMMENT ON COLUMN pipeline.freshness.staged IS 'Rows that the last load of each of its tables staged.';
COMMENT ON COLUMN pipeline.freshness.quarantined IS 'Rows in quarantine.';
COMMENT ON COLUMN pipeline.freshness.dangling IS 'Dangling references.';
COMMENT ON COLUMN pipeline.freshness.kept IS 'Rows that are absent from the API and kept, because other rows refer to them.';
COMMENT ON COLUMN pipeline.freshness.read IS 'Named read; NULL for the resource''s own delta or full read, with the figures of the whole resource.';

COMMENT ON TABLE pipeline.refinery_schema_history IS 'Applied migrations of the load ledger; written by cursus.';
COMMENT ON COLUMN pipeline.refinery_schema_history.version IS 'Number of the migration.';
COMMENT ON COLUMN pipeline.refinery_schema_history.name IS 'Name of the migration.';
