-- +goose NO TRANSACTION
-- +goose Up
ALTER TABLE trades
    UPDATE
        recv_to_stream_ns = toUnixTimestamp64Nano(stream_time) - toUnixTimestamp64Nano(recv_time),
        stream_after_event_ns = toUnixTimestamp64Nano(stream_time) - intDiv(toUnixTimestamp64Nano(event_time), 1000) * 1000,
        trade_number = if(toString(toUInt64OrZero(trade_id)) = trade_id, toUInt64OrZero(trade_id), 0),
        trade_text = if(toString(toUInt64OrZero(trade_id)) = trade_id AND trade_id != '0', '', trade_id),
        condition_codes = arrayStringConcat(arrayMap(x -> concat(replaceAll(replaceAll(x, '%', '%25'), ',', '%2C'), ','), conditions))
    WHERE 1
    SETTINGS mutations_sync = 2;
