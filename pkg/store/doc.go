// Package store keeps hashpivot's events in ClickHouse: migrations, inserts that land exactly once, and the few reads that the
// programs need. It is the only importer of clickhouse-go.
//
// # Exactly once
//
// A Batch is cut into blocks, one for each table and partition. A block is sent as one native block in one INSERT with the
// deduplication token "<token>:<partition>", so it becomes one part or none, and sent again under the same token it adds
// nothing. A batch that was inserted half is completed by inserting it again: the blocks that are there are dropped, the others
// are stored. The same events in the same order make the same blocks.
//
// # Columns
//
// A Batch holds its columns as the bytes of ClickHouse's native format, appended value by value without reflection or
// allocation, and an insert sends them from there by ch-go, without a copy. Decimals are scaled integers all the way and are exact.
// Everything else is done by clickhouse-go.
package store
