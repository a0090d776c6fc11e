package reference

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// FactorScale is the number of decimals of a factor. A price times a factor that was rounded there is right to the eighth decimal.
const FactorScale = 30

// Adjustment is what makes a raw price of one span of trade dates comparable to prices as of another span: From <= trade date < To, and
// AsOfFrom <= as of < AsOfTo. The zero time is open-ended.
type Adjustment struct {
	Symbol         string
	From, To       time.Time
	AsOfFrom, AsOf time.Time // AsOf is the end, exclusive
	// Split multiplies prices for splits alone, Total for splits and distributions. Volumes are divided by Split.
	Split, Total *big.Rat
}

// Adjustments computes the factors of every pair of spans in which a symbol's prices differ. They are products of exact ratios; nothing is
// rounded before it is written.
func Adjustments(actions []Action) ([]Adjustment, error) {
	bySymbol := map[string][]Action{}
	for _, a := range actions {
		bySymbol[a.Symbol] = append(bySymbol[a.Symbol], a)
	}
	symbols := make([]string, 0, len(bySymbol))
	for s := range bySymbol {
		symbols = append(symbols, s)
	}
	slices.Sort(symbols)
	var out []Adjustment
	for _, s := range symbols {
		list := bySymbol[s]
		slices.SortStableFunc(list, func(a, b Action) int {
			return cmp.Or(a.ExDate.Compare(b.ExDate), cmp.Compare(a.Kind, b.Kind))
		})
		// Actions of one day take effect together: the spans lie between the days.
		var days []time.Time
		for _, a := range list {
			if len(days) == 0 || !a.ExDate.Equal(days[len(days)-1]) {
				days = append(days, a.ExDate)
			}
		}
		at := func(i int) time.Time {
			if i < 0 || i >= len(days) {
				return time.Time{}
			}
			return days[i]
		}
		for price := range days { // the span before days[price]
			split, total := big.NewRat(1, 1), big.NewRat(1, 1)
			for asOf := price; asOf < len(days); asOf++ { // as of the span that days[asOf] begins
				for _, a := range list {
					if !a.ExDate.Equal(days[asOf]) {
						continue
					}
					f, err := a.Factor()
					if err != nil {
						return nil, fmt.Errorf("adjust %s for its %s of %s: %w", s, a.Kind, a.ExDate.Format(time.DateOnly), err)
					}
					if a.Kind == Split {
						split = new(big.Rat).Mul(split, f)
					}
					total = new(big.Rat).Mul(total, f)
				}
				out = append(out, Adjustment{
					Symbol: s, From: at(price - 1), To: at(price), AsOfFrom: at(asOf), AsOf: at(asOf + 1), Split: split, Total: total,
				})
			}
		}
	}
	return out, nil
}

// Statements are what fills the tables instruments, corporate_actions and adjustment_factors with these facts. Each is idempotent: facts that
// are the table's newest version already are not inserted again, whoever runs it and however often.
func Statements(instruments []Instrument, actions []Action) ([]string, error) {
	adjustments, err := Adjustments(actions)
	if err != nil {
		return nil, err
	}
	var in, ac, ad []string
	for _, x := range instruments {
		in = append(in, row(text(x.ID), text(x.Symbol), text(x.Name), text(x.Listing), text(x.Tape), day(x.From, first), day(x.To, last),
			fmt.Sprint(x.Exact), text(x.Source)))
	}
	for _, a := range actions {
		f, err := a.Factor()
		if err != nil {
			return nil, fmt.Errorf("%s of %s on %s: %w", a.Kind, a.Symbol, a.ExDate.Format(time.DateOnly), err)
		}
		ac = append(ac, row(text(a.Symbol), text(a.Kind), day(a.ExDate, first), number(a.SharesNew, 8), number(a.SharesOld, 8), number(a.AmountUSD, 8),
			number(a.PriorCloseUSD, 8), factor(f), text(a.Source)))
	}
	for _, a := range adjustments {
		ad = append(ad, row(text(a.Symbol), day(a.From, first), day(a.To, last), day(a.AsOfFrom, first), day(a.AsOf, last),
			factor(a.Split), factor(a.Total), factor(new(big.Rat).Inv(a.Split))))
	}
	return fill(
		filling{"instruments", "id, symbol, name, listing, tape, from_date, to_date, exact, source", in},
		filling{"corporate_actions", "symbol, kind, ex_date, shares_new, shares_old, amount_usd, prior_close_usd, price_factor, source", ac},
		filling{"adjustment_factors", "symbol, from_date, to_date, as_of_from, as_of_to, split_factor, total_factor, volume_factor", ad},
	)
}
