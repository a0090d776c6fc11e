-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS ai_contracts_now AS
SELECT DISTINCT symbol, counterparty, kind, signed, exact, mw, gpus, value_usd, years, title, at, confirmed, source
FROM ai_contracts
WHERE version = (SELECT argMax(version, loaded_at) FROM ai_contracts)
COMMENT 'ai_contracts, the list that was loaded last';
