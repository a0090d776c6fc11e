module github.com/hashpivot/hashpivot/e2e

go 1.26
