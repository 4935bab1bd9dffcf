package child

import "testing"

func TestAStatusLineIsReadWhateverTheProgramIsCalled(t *testing.T) {
	rest := " 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 " +
		"21 22 23 24 25 26 27 28 768\n"
	for name, dead := range map[string]bool{
		"77 (sh) S": false, "77 (a) Z (b) R": false, "77 ()) Z": true, "77 (x y) X": true, "77 (\n) D": false,
	} {
		s, err := parseStat([]byte(name + rest))
		if err != nil || s.Dead() != dead || s.Start != 4711 {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	for _, bad := range []string{
		"", "77", "77 (sh)", "77 (sh) S 1 2", ")", "77 (sh) SS" + rest,
		"77 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x",
		"77 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x 20 21 22",
	} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		}
	}
}
