package value

import (
	"strings"
	"unicode"
)

// manyCapitals are the letters whose capital is more than one letter (Unicode's SpecialCasing.txt), after strings.ToUpper, which leaves them or makes
// them the letter of a title.
var manyCapitals = strings.NewReplacer(strings.FieldsFunc(`ß=SS ŉ=ʼN ǰ=J̌ ΐ=Ϊ́ ΰ=Ϋ́ և=ԵՒ ẖ=H̱ ẗ=T̈ ẘ=W̊ ẙ=Y̊ ẚ=Aʾ ὐ=Υ̓ ὒ=Υ̓̀ ὔ=Υ̓́ ὖ=Υ̓͂ ᾈ=ἈΙ ᾉ=ἉΙ ᾊ=ἊΙ ᾋ=ἋΙ ᾌ=ἌΙ ᾍ=ἍΙ
ᾎ=ἎΙ ᾏ=ἏΙ ᾘ=ἨΙ ᾙ=ἩΙ ᾚ=ἪΙ ᾛ=ἫΙ ᾜ=ἬΙ ᾝ=ἭΙ ᾞ=ἮΙ ᾟ=ἯΙ ᾨ=ὨΙ ᾩ=ὩΙ ᾪ=ὪΙ ᾫ=ὫΙ ᾬ=ὬΙ ᾭ=ὭΙ ᾮ=ὮΙ ᾯ=ὯΙ ᾲ=ᾺΙ ᾴ=ΆΙ ᾶ=Α͂ ᾷ=Α͂Ι
ᾼ=ΑΙ ῂ=ῊΙ ῄ=ΉΙ ῆ=Η͂ ῇ=Η͂Ι ῌ=ΗΙ ῒ=Ϊ̀ ΐ=Ϊ́ ῖ=Ι͂ ῗ=Ϊ͂ ῢ=Ϋ̀ ΰ=Ϋ́ ῤ=Ρ̓ ῦ=Υ͂ ῧ=Ϋ͂ ῲ=ῺΙ ῴ=ΏΙ ῶ=Ω͂ ῷ=Ω͂Ι ῼ=ΩΙ
ﬀ=FF ﬁ=FI ﬂ=FL ﬃ=FFI ﬄ=FFL ﬅ=ST ﬆ=ST ﬓ=ՄՆ ﬔ=ՄԵ ﬕ=ՄԻ ﬖ=ՎՆ ﬗ=ՄԽ`, func(r rune) bool { return r == '=' || unicode.IsSpace(r) })...)

// Upper is JavaScript's toUpperCase.
func Upper(s string) string {
	return eachSound(s, func(s string) string { return manyCapitals.Replace(strings.ToUpper(s)) })
}

// Lower is JavaScript's toLowerCase, which writes a sigma at the end of a word in its own form.
func Lower(s string) string {
	return eachSound(s, func(s string) string {
		low := strings.ToLower(strings.ReplaceAll(s, "İ", "i̇"))
		if !strings.Contains(s, "Σ") {
			return low
		}
		return finalSigmas(s)
	})
}

// finalSigmas is s in small letters, with ς for each Σ that a letter stands before and none after, marks and points apart.
func finalSigmas(s string) string {
	all := []rune(strings.ReplaceAll(s, "İ", "i̇"))
	low := make([]rune, len(all))
	inWord := false // a letter with case stands before, with nothing but marks in between
	for i, r := range all {
		low[i] = unicode.ToLower(r)
		if r == 'Σ' && inWord && !goesOn(all[i+1:]) {
			low[i] = 'ς'
		}
		if !isPassed(r) {
			inWord = hasCase(r)
		}
	}
	return string(low)
}

// goesOn reports whether a letter with case comes next, marks and points apart.
func goesOn(rest []rune) bool {
	for _, r := range rest {
		if !isPassed(r) {
			return hasCase(r)
		}
	}
	return false
}

func hasCase(r rune) bool {
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

// isPassed reports whether a character does not end a word for this purpose: Unicode's property Case_Ignorable.
func isPassed(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:·’․﹒＇．：‘︓﹕՟״‧", r)
}

// eachSound applies a change of case to what of s is UTF-8, and leaves lone surrogates as they are.
func eachSound(s string, change func(string) string) string {
	var b strings.Builder
	start := 0
	for i := 0; i+2 < len(s); i++ {
		if _, lone := surrogate(s[i:]); lone {
			b.WriteString(change(s[start:i]))
			b.WriteString(s[i : i+3])
			i += 2
			start = i + 1
		}
	}
	if start == 0 {
		return change(s)
	}
	b.WriteString(change(s[start:]))
	return b.String()
}
