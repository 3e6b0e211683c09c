package invitation

// The vector of docs/protocol.md.
const (
	vectorText  = "lobstah1adievmrsoqv3jkz2cnul2rqv4ttnaiskw4nac25pquqkgmwjo6dtomztgmztgmztgmztgmztgmztgm3ljhjaaaieycuacbkeildtbild"
	vectorID    = "8099fe451472"
	vectorWords = "bulb stamp chisel suit hinge safari"
)
