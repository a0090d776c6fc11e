package bus

// StoredUnder is storedUnder.
var StoredUnder = (*Bus).storedUnder
