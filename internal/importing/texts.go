package importing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// errSpool is a failure of this machine's disk.
var errSpool = errors.New("keep the texts of a workbook in a temporary file")

const (
	textsInMemory = 4 << 20 // bytes; more go to a file
	textsInBlock  = 64
	blocksAtHand  = 32
)

// texts are the numbered texts of a workbook, to which its cells refer: in a
// file of codes about one a row, mostly in the order of the rows. They are kept
// in blocks, in memory while they are few and in a file without a name when
// they are many.
type texts struct {
	n      int
	blocks []int64 // where each begins
	end    int64
	tail   []byte // not in the file yet
	file   *os.File

	at    [blocksAtHand]int // block number + 1
	hands [blocksAtHand][]byte
}

func newTexts() *texts { return &texts{} }

func (t *texts) add(text []byte) error {
	if t.n%textsInBlock == 0 {
		t.blocks = append(t.blocks, t.end)
	}
	t.n++
	before := len(t.tail)
	t.tail = append(binary.AppendUvarint(t.tail, uint64(len(text))), text...)
	t.end += int64(len(t.tail) - before)
	if len(t.tail) < textsInMemory {
		return nil
	}
	return t.spill()
}

func (t *texts) spill() error {
	if t.file == nil {
		file, err := os.CreateTemp("", "promopool-texts-")
		if err != nil {
			return fmt.Errorf("%w: %w", errSpool, err)
		}
		t.file = file
		_ = os.Remove(file.Name()) // gone when this process is; where that can't be, close does it
	}
	if _, err := t.file.Write(t.tail); err != nil {
		return fmt.Errorf("%w: %w", errSpool, err)
	}
	t.tail = t.tail[:0]
	return nil
}

// get returns a text until the next is asked for.
func (t *texts) get(i int) ([]byte, error) {
	if i < 0 || i >= t.n {
		return nil, errDamaged
	}
	block, err := t.block(i / textsInBlock)
	if err != nil {
		return nil, err
	}
	for range i % textsInBlock {
		size, n := binary.Uvarint(block)
		block = block[n+int(size):]
	}
	size, n := binary.Uvarint(block)
	return block[n : n+int(size)], nil
}

func (t *texts) block(i int) ([]byte, error) {
	from, to := t.blocks[i], t.end
	if i+1 < len(t.blocks) {
		to = t.blocks[i+1]
	}
	filed := t.end - int64(len(t.tail))
	if from >= filed {
		return t.tail[from-filed : to-filed], nil
	}
	hand := i % blocksAtHand
	if t.at[hand] == i+1 {
		return t.hands[hand], nil
	}
	b := append(t.hands[hand][:0], make([]byte, to-from)...)
	t.at[hand], t.hands[hand] = 0, b
	inFile := min(to, filed) - from
	if _, err := t.file.ReadAt(b[:inFile], from); err != nil {
		return nil, fmt.Errorf("%w: %w", errSpool, err)
	}
	copy(b[inFile:], t.tail)
	t.at[hand] = i + 1
	return b, nil
}

func (t *texts) close() {
	if t.file != nil {
		t.file.Close()
		os.Remove(t.file.Name())
	}
}
