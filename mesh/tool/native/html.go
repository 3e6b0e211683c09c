package native

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// extract returns the title and the text of a page. Markdown keeps headings,
// lists, code and the targets of links. It reads tokens and builds no tree, so
// depth costs nothing.
func extract(page string, base *url.URL, markdown bool) (title, text string) {
	e := &extractor{base: base, markdown: markdown}
	tokens := html.NewTokenizer(strings.NewReader(page))
	tokens.SetMaxBuf(maxPage)
	for {
		kind := tokens.Next()
		if kind == html.ErrorToken { // its end; there are no other faults in a string
			return strings.Join(strings.Fields(e.title.String()), " "), strings.TrimSpace(e.out.String())
		}
		e.take(kind, tokens.Token())
	}
}

type extractor struct {
	base     *url.URL
	markdown bool
	out      strings.Builder
	title    strings.Builder
	inTitle  bool
	skip     atom.Atom // the element whose content is no text, 0 for none
	pre      int       // how many pre elements are open
	links    []string  // targets of open links
	breaks   int       // line feeds that are owed before the next text
	space    bool      // a space is owed
}

func (e *extractor) take(kind html.TokenType, t html.Token) {
	switch {
	case e.skip != 0:
		if kind == html.EndTagToken && t.DataAtom == e.skip {
			e.skip = 0
		}
	case kind == html.TextToken && e.inTitle:
		e.title.WriteString(t.Data)
	case kind == html.TextToken:
		e.text(t.Data)
	case kind == html.StartTagToken, kind == html.SelfClosingTagToken:
		e.open(t)
	case kind == html.EndTagToken:
		e.close(t.DataAtom)
	}
}

func (e *extractor) open(t html.Token) {
	switch t.DataAtom {
	case atom.Script, atom.Style, atom.Noscript, atom.Template, atom.Svg, atom.Iframe:
		if t.Type == html.StartTagToken {
			e.skip = t.DataAtom
		}
	case atom.Title:
		e.inTitle = true
	case atom.Br:
		e.owe(1)
	case atom.A:
		e.links = append(e.links, e.target(t))
		if e.markdown && e.links[len(e.links)-1] != "" {
			e.raw("[")
		}
	case atom.Li:
		e.owe(1)
		e.mark("- ")
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		e.owe(2)
		e.mark(strings.Repeat("#", int(t.Data[1]-'0')) + " ")
	case atom.Pre:
		e.owe(2)
		e.pre++
		e.mark("```\n")
	case atom.Td, atom.Th:
		e.space = true
	default:
		e.owe(gaps[t.DataAtom])
	}
}

// gaps are the line feeds around elements.
var gaps = map[atom.Atom]int{
	atom.P: 2, atom.Div: 1, atom.Section: 2, atom.Article: 2, atom.Header: 1, atom.Footer: 2, atom.Ul: 1, atom.Ol: 1, atom.Table: 2, atom.Tr: 1,
	atom.Blockquote: 2, atom.Li: 1, atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2, atom.Main: 2, atom.Nav: 2, atom.Dt: 1, atom.Dd: 1, atom.Hr: 2,
}

func (e *extractor) close(a atom.Atom) {
	switch {
	case a == atom.Title:
		e.inTitle = false
	case a == atom.A && len(e.links) > 0:
		target := e.links[len(e.links)-1]
		e.links = e.links[:len(e.links)-1]
		if e.markdown && target != "" {
			e.out.WriteString("](" + target + ")")
		}
	case a == atom.Pre && e.pre > 0:
		e.pre--
		if e.markdown {
			e.breaks = 0
			e.out.WriteString("\n```")
		}
		e.owe(2)
	default:
		e.owe(gaps[a])
	}
}

func (e *extractor) target(t html.Token) string {
	for _, a := range t.Attr {
		if a.Key != "href" {
			continue
		}
		u, err := e.base.Parse(strings.TrimSpace(a.Val))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return ""
		}
		return u.String()
	}
	return ""
}

func (e *extractor) owe(n int) { e.breaks = max(e.breaks, n) }

func (e *extractor) mark(text string) {
	if e.markdown {
		e.raw(text)
	}
}

// raw writes text after what is owed before it.
func (e *extractor) raw(text string) {
	switch {
	case e.out.Len() == 0:
	case e.breaks > 0:
		e.out.WriteString(strings.Repeat("\n", e.breaks))
	case e.space:
		e.out.WriteByte(' ')
	}
	e.breaks, e.space = 0, false
	e.out.WriteString(text)
}

func (e *extractor) text(data string) {
	if e.pre > 0 {
		e.raw(data)
		return
	}
	words := strings.Fields(data)
	if len(words) == 0 {
		e.space = e.space || data != ""
		return
	}
	if strings.ContainsAny(data[:1], " \t\r\n") {
		e.space = true
	}
	e.raw(strings.Join(words, " "))
	e.space = strings.ContainsAny(data[len(data)-1:], " \t\r\n")
}
