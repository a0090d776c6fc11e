package bus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/nats-io/nkeys"
)

// NKey makes the nkey of a user, writes its seed into the file, which only its owner can read, and returns its public half, which the server is told. A file that
// is there is kept.
func NKey(file string) (public string, _ error) {
	seed, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeNKey(file)
	}
	if err != nil {
		return "", fmt.Errorf("read nkey: %w", err)
	}
	pair, err := nkeys.ParseDecoratedNKey(seed)
	if err != nil {
		return "", fmt.Errorf("read nkey: %s does not hold the seed of one", file)
	}
	defer pair.Wipe()
	public, err = pair.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return "", fmt.Errorf("read nkey: %s does not hold that of a user, which begins with SU", file)
	}
	return public, nil
}

func makeNKey(file string) (string, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("make nkey: %w", err)
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil {
		return "", fmt.Errorf("make nkey: %w", err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return "", fmt.Errorf("make nkey: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("write nkey: %w", err)
	}
	if _, err = f.Write(append(seed, '\n')); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("write nkey: %w", err)
	}
	return public, nil
}
