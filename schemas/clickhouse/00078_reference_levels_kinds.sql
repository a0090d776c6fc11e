-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE reference_levels
    COMMENT COLUMN kind 'pue, utilisation, capital-ratio (all ratios), fleet-efficiency (J/TH), power-price (USD/MWh) or capital-per-mw (USD per MW at the meter)';
