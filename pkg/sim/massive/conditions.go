package massive

// Massive tells conditions, exchanges and tapes by ids of its own. These tables translate the tape's codes of the SIPs for this simulator
// alone: what a condition does to a bar is reference data, not the simulator's.

// conditionIDs by the SIP's code, of both SIPs where they agree. A regular print has no id.
var conditionIDs = map[string]int{
	"A": 1, "C": 7, "D": 11, "E": 3, "F": 14, "G": 5, "H": 21, "I": 37, "K": 23, "L": 30, "M": 15, "N": 20, "O": 25, "P": 22, "Q": 16, "R": 29,
	"T": 12, "U": 13, "V": 52, "X": 9, "Y": 36, "Z": 33, "4": 10, "5": 28, "6": 8, "7": 53, "9": 38,
	"W": 2, // average price of the UTP SIP
}

// byTape are codes that the two SIPs use differently.
var byTape = map[string]map[string]int{
	"A": {"B": 2, "O": 17, "5": 18, "6": 19},
	"B": {"B": 2, "O": 17, "5": 18, "6": 19},
	"C": {"B": 4},
}

// conditions translates a print's codes.
func conditions(tape string, codes []string) (ids []int) {
	for _, c := range codes {
		if id, ok := byTape[tape][c]; ok {
			ids = append(ids, id)
		} else if id, ok := conditionIDs[c]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// exchangeIDs by the SIP's letter.
var exchangeIDs = map[byte]int{
	'A': 1, 'B': 2, 'C': 3, 'D': finra, 'I': 6, 'J': 7, 'K': 8, 'M': 9, 'N': 10, 'P': 11, 'Q': 12, 'L': 14, 'V': 15, 'W': 16, 'X': 17, 'Y': 18, 'Z': 19,
	'H': 20, 'U': 21,
}

const (
	finra = 4 // off the exchange: reported to a TRF
	trf   = 202
)

// tapeIDs by the SIP's letter.
var tapeIDs = map[string]int{"A": 1, "B": 2, "C": 3}
