-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS companies_now AS
SELECT DISTINCT symbol, from_date, exact, segment, basis, share, revenue_usd, period, at, confirmed, source
FROM companies
WHERE version = (SELECT argMax(version, loaded_at) FROM companies)
COMMENT 'companies, the list that was loaded last';
