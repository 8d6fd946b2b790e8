package producer

import "github.com/segmentio/kafka-go"

var murmur2 = kafka.Murmur2Balancer{Consistent: true}

// Partition is where a record with this key goes among n partitions, as Java
// clients place it. A null key goes where an empty one does: Java spreads those,
// but the same record must go to the same place each time it is sent.
func Partition(key []byte, n int) int {
	if key == nil {
		key = []byte{}
	}
	return murmur2.Balance(kafka.Message{Key: key}, all(n)...)
}

// all returns the partition numbers below n.
func all(n int) []int {
	if n > len(numbers) {
		ns := make([]int, n)
		for i := range ns {
			ns[i] = i
		}
		return ns
	}
	return numbers[:n:n]
}

var numbers = func() (ns [256]int) {
	for i := range ns {
		ns[i] = i
	}
	return ns
}()
