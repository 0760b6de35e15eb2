package gitlabjobs

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxPerPage is the most items a page can have, and what iterators ask for.
const maxPerPage = 100

// A Page is one page of a list.
type Page[T any] struct {
	Items      []T
	NextPage   int    // for the Page of the next call's options; 0 where there is none
	NextCursor string // for their Cursor; "" where there is none
	Total      int    // of all items; 0 where the server sends none, as for the jobs of a project
	TotalPages int    // likewise

	guessed bool // NextPage follows from nothing but this page's being full
}

// HasNext reports whether there is a page after this one.
func (p *Page[T]) HasNext() bool { return p.NextPage > 0 || p.NextCursor != "" }

// A position is where a page starts, and how many items it has.
type position struct {
	PerPage    int    `url:"per_page,omitempty"`
	Page       int    `url:"page,omitempty"`
	Pagination string `url:"pagination,omitempty"`
	Cursor     string `url:"cursor,omitempty"`
}

const keyset = "keyset"

func (p position) validate() error {
	switch {
	case p.PerPage < 0 || p.PerPage > maxPerPage:
		return errors.New("gitlabjobs: PerPage is from 1 to 100, or 0 for the server's default")
	case p.Page < 0:
		return errors.New("gitlabjobs: Page is from 1 on, or 0 for the first")
	case p.Page > 0 && p.Pagination == keyset:
		return errors.New("gitlabjobs: Page goes with offset pagination, Cursor and Keyset with the other")
	}
	return nil
}

// fetchPage performs a call whose answer is one page of a list.
func fetchPage[T any](ctx context.Context, c *Client, cl call, at position) (*Page[*T], error) {
	page := &Page[*T]{}
	cl.into = (*list[T])(&page.Items)
	resp, err := c.send(ctx, cl) //nolint:bodyclose // send has read and closed it
	if err != nil {
		return nil, err
	}
	page.Items = withoutNull(page.Items)
	page.describe(resp.Header, at)
	return page, nil
}

// withoutNull leaves out the items that were null in the JSON.
func withoutNull[T any](items []*T) []*T {
	return slices.DeleteFunc(items, func(item *T) bool { return item == nil })
}

// describe takes from the headers of a page what they say of the list.
func (p *Page[T]) describe(header http.Header, at position) {
	p.NextPage, p.NextCursor = nextPage(header, at)
	// A proxy that strips the headers leaves this much to go by: a full page
	// may have one behind it.
	_, sent := header["X-Next-Page"]
	stripped := !sent && header.Get("Link") == "" && at.Pagination != keyset
	if stripped && at.PerPage > 0 && len(p.Items) >= at.PerPage {
		p.NextPage, p.guessed = max(at.Page, 1)+1, true
	}
	p.Total = headerNumber(header, "X-Total")
	p.TotalPages = headerNumber(header, "X-Total-Pages")
}

// nextPage returns what the headers of a page say of the next one: its number,
// or its cursor. The host of a Link is of no interest: it is the configured
// one, which may not be the one that was reached.
func nextPage(header http.Header, at position) (page int, cursor string) {
	link := nextLink(header.Values("Link"))
	if at.Pagination == keyset {
		if cursor := link.Get("cursor"); cursor != "" {
			return 0, cursor
		}
	}
	if number := headerNumber(header, "X-Next-Page"); number > 0 {
		return number, ""
	}
	if number, err := strconv.Atoi(link.Get("page")); err == nil && number > 0 {
		return number, ""
	}
	return 0, ""
}

// nextLink returns the query of the Link with rel="next".
func nextLink(links []string) url.Values {
	for _, header := range links {
		for header != "" {
			_, rest, found := strings.Cut(header, "<")
			if !found {
				break
			}
			target, rest, found := strings.Cut(rest, ">")
			if !found {
				break
			}
			params, _, _ := strings.Cut(rest, "<")
			header = rest[len(params):]
			if !isNext(strings.TrimRight(params, ", \t")) {
				continue
			}
			if u, err := url.Parse(target); err == nil {
				return u.Query()
			}
		}
	}
	return nil
}

// isNext reports whether the parameters of a link have the relation "next".
func isNext(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for relation := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(relation, "next") {
				return true
			}
		}
	}
	return false
}

func headerNumber(header http.Header, name string) int {
	n, err := strconv.Atoi(header.Get(name))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// errEndlessList says that the server leads back to a page.
var errEndlessList = errors.New("gitlabjobs: the list has no end: its next page is one that was read before")

// pages is how an iterator gets the page at a position.
type pages[T any] func(ctx context.Context, at position) (*Page[*T], error)

// each returns an iterator over all items from a position on. Items whose key
// was yielded before are left out: they come again where the list has moved
// between two pages.
func each[T any, K comparable](ctx context.Context, start position, get pages[T], key func(*T) K) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		if ctx == nil {
			yield(nil, errNilContext)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		next := fetchAhead(ctx, get, start)
		defer func() {
			cancel()
			_, _ = next.wait()
		}()
		at := start
		asked := map[position]struct{}{start: {}}
		seen := make(map[K]struct{})
		for {
			page, err := next.wait()
			if isKeysetRefusal(err) && at == start && start.Pagination == keyset && start.Cursor == "" {
				at.Pagination = ""
				next = fetchAhead(ctx, get, at)
				continue
			}
			if err != nil {
				yield(nil, err)
				return
			}
			following := at.after(page.NextPage, page.NextCursor)
			_, endless := asked[following]
			goesOn := page.HasNext() && !endless
			asked[following] = struct{}{}
			known := len(seen)
			next = nil
			for i, item := range page.Items {
				if _, again := seen[key(item)]; !again {
					seen[key(item)] = struct{}{}
					if !yield(item, nil) {
						return
					}
				}
				if half := (len(page.Items) + 1) / 2; i+1 == half && goesOn {
					next = fetchAhead(ctx, get, following)
				}
			}
			switch {
			case !page.HasNext() || page.guessed && len(seen) == known:
				return
			case endless:
				yield(nil, errEndlessList)
				return
			case next == nil: // an empty page with one behind it
				next = fetchAhead(ctx, get, following)
			}
			at = following
		}
	}
}

// after returns the position of the page behind this one.
func (p position) after(page int, cursor string) position {
	if cursor != "" {
		return position{PerPage: p.PerPage, Pagination: keyset, Cursor: cursor}
	}
	return position{PerPage: p.PerPage, Page: page}
}

// isKeysetRefusal reports whether the server has keyset pagination for other
// lists only.
func isKeysetRefusal(err error) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.StatusCode == http.StatusMethodNotAllowed
}

// An ahead is a page that is being fetched in the background.
type ahead[T any] struct {
	done chan struct{}
	page *Page[*T]
	err  error
}

func fetchAhead[T any](ctx context.Context, get pages[T], at position) *ahead[T] {
	a := &ahead[T]{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.page, a.err = get(ctx, at)
	}()
	return a
}

// wait returns the page once it is there.
func (a *ahead[T]) wait() (*Page[*T], error) {
	if a == nil {
		return nil, nil
	}
	<-a.done
	return a.page, a.err
}
