package m

type fake struct{}

func (*fake) Two(numbers ...int) {}

func (*fake) One(string) error { return nil }
