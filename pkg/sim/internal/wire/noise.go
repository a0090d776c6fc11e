package wire

import "hash/fnv"

// Uniform is a number in [0, 1) that depends on nothing but its arguments.
func Uniform(seed uint64, name string, n int64) float64 {
	return float64(Hash(seed, name, n)>>11) / (1 << 53)
}

// Hash is 64 bits that depend on nothing but its arguments.
func Hash(seed uint64, name string, n int64) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	return mix(mix(seed^h.Sum64()) + uint64(n))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
