-- +goose NO TRANSACTION
-- +goose Up
CREATE VIEW IF NOT EXISTS corporate_actions_now AS
SELECT DISTINCT symbol, kind, ex_date, shares_new, shares_old, amount_usd, prior_close_usd, price_factor, source
FROM corporate_actions
WHERE version = (SELECT argMax(version, loaded_at) FROM corporate_actions)
COMMENT 'corporate_actions, the list that was loaded last';
