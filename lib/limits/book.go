package limits

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Config holds what a Book needs to know. The zero value works.
type Config struct {
	// Table has the bounds. Default: those of WithDefaults.
	Table Table
	// Logger gets what is refused, a line in ten seconds for each kind. Default: none.
	Logger *slog.Logger
}

// Book counts what peers use. Its methods may be called concurrently; those of a nil Book bound nothing.
type Book struct {
	table Table
	log   *slog.Logger

	mu      sync.Mutex // guards what follows, and every account
	all     account
	peers   map[string]*account
	swept   int // how many were left when accounts were last looked through
	sweptAt time.Time
	refused [count]int64
	said    [count]struct {
		at   time.Time
		more int64 // that were refused since, and not told of
	}
}

// account is what one peer uses, or a block of them, or all.
type account struct {
	name   string
	wide   bool
	own    Set            // in place of the table's
	bounds Set            // in force
	refs   int            // holders of the account
	used   [count]int64   // what is held, and of others what is not forgotten yet
	since  [count]int64   // when used was that, in Unix ns, of what comes by the second
	days   *[hours]amount // of what comes by the day
}

// amount is what came in an hour.
type amount struct {
	hour  int64 // since 1970
	bytes int64
}

const hours = 24

// maxAccounts bounds the accounts. Those that count nothing any more are forgotten.
const maxAccounts = 65536

// New makes a book.
func New(c Config) *Book {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Book{table: c.Table.WithDefaults(), log: c.Logger, peers: make(map[string]*account)}
	for k, bounds := range b.table {
		b.all.bounds[k] = bounds.All
	}
	b.all.name = "all"
	return b
}

// Bounds are those in force.
func (b *Book) Bounds() Table {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.table
}

// Excess says that a peer asked for more than it may have.
type Excess struct {
	Kind  Kind
	Of    string // whose bound it is: the peer, its block, or all
	Bound int64
}

func (e *Excess) Error() string {
	switch kinds[e.Kind].unit {
	case perSecond:
		return fmt.Sprintf("more than %d %v a second from %s", e.Bound, e.Kind, e.Of)
	case perDay:
		return fmt.Sprintf("more than %d bytes %v in 24 hours from %s", e.Bound, e.Kind, e.Of)
	}
	if e.Kind.Bytes() {
		return fmt.Sprintf("more than %d bytes in %v of %s", e.Bound, e.Kind, e.Of)
	}
	return fmt.Sprintf("more than %d %v of %s", e.Bound, e.Kind, e.Of)
}

// Peer is a holder of a peer's account. A nil Peer has no bounds.
type Peer struct {
	b        *Book
	who      Who
	accounts []*account // its own, that of its block, and that of all
	free     bool       // Book.mu guards it
	left     bool
}

// Enter returns the account of a peer. Leave must be called.
func (b *Book) Enter(who Who) *Peer {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &Peer{b: b, who: who, free: who.Free}
	if who.Free {
		p.accounts = []*account{&b.all}
		return p
	}
	if who.Block == "" {
		p.accounts = append(p.accounts, b.account(who.Name, true, who.Own))
	} else {
		p.accounts = append(p.accounts, b.account(who.Name, false, who.Own), b.account(who.Block, true, Set{}))
	}
	p.accounts = append(p.accounts, &b.all)
	return p
}

// account returns the account of a name, and makes it on first use. Once there are too many, those of new names count with each other. b.mu is
// held.
func (b *Book) account(name string, wide bool, own Set) *account {
	a := b.peers[name]
	if a == nil {
		if now := time.Now(); len(b.peers) >= 2*b.swept+64 || len(b.peers) >= maxAccounts && now.Sub(b.sweptAt) > time.Second {
			b.sweep(now)
		}
		if len(b.peers) >= maxAccounts {
			if name = "others"; b.peers[name] != nil {
				return b.hold(b.peers[name])
			}
		}
		a = &account{name: name}
		b.peers[name] = a
	}
	a.wide, a.own = wide, own
	b.bound(a)
	return b.hold(a)
}

// bound sets the bounds of an account. b.mu is held.
func (b *Book) bound(a *account) {
	for k, t := range b.table {
		switch {
		case a.own[k] != 0:
			a.bounds[k] = a.own[k]
		case a.wide:
			a.bounds[k] = t.Wide
		default:
			a.bounds[k] = t.Peer
		}
	}
}

// Tune replaces the bounds. What is held above new ones stays until it is given back.
func (b *Book) Tune(t Table) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.table = t.WithDefaults()
	for k, bounds := range b.table {
		b.all.bounds[k] = bounds.All
	}
	for _, a := range b.peers {
		b.bound(a)
	}
}

func (b *Book) hold(a *account) *account {
	a.refs++
	return a
}

// sweep forgets the accounts that nobody holds and that count nothing any more. b.mu is held.
func (b *Book) sweep(now time.Time) {
	left := make(map[string]*account) // a map that shrinks gives no memory back
	for name, a := range b.peers {
		if a.refs > 0 || !a.idle(now) {
			left[name] = a
		}
	}
	b.peers, b.swept, b.sweptAt = left, len(left), now
}

// Sweep forgets the accounts that count nothing any more.
func (b *Book) Sweep() {
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.sweep(time.Now())
	}
}

// Accounts is how many there are.
func (b *Book) Accounts() int {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.peers)
}

// Refused is how often each kind was refused, or held up, since the start.
func (b *Book) Refused() map[Kind]int64 {
	all := make(map[Kind]int64, count)
	if b == nil {
		return all
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for k, n := range b.refused {
		all[Kind(k)] = n
	}
	return all
}

// idle reports whether nothing is held, and what was used by the second is forgotten.
func (a *account) idle(now time.Time) bool {
	for k := range count {
		if a.left(k, now) > 0 {
			return false
		}
	}
	return true
}

// left is what counts of a kind at a time, and notes that.
func (a *account) left(k Kind, now time.Time) int64 {
	switch kinds[k].unit {
	case perSecond:
		if bound := a.bounds[k]; bound > 0 && a.used[k] > 0 {
			a.since[k] = min(a.since[k], now.UnixNano()) // later: the clock was set back
			gone := int64(float64(bound) * float64(now.UnixNano()-a.since[k]) / 1e9)
			a.used[k] = max(0, a.used[k]-gone)
			a.since[k] += int64(float64(gone) / float64(bound) * 1e9) // the rest of the time counts later
		} else {
			a.used[k], a.since[k] = 0, now.UnixNano()
		}
	case perDay:
		a.used[k] = 0
		if a.days != nil {
			for _, d := range a.days {
				if now.Unix()/3600-d.hour < hours {
					a.used[k] += d.bytes
				}
			}
		}
	}
	return a.used[k]
}

// most is how much may count of a kind at a time.
func (a *account) most(k Kind) int64 {
	if kinds[k].unit == perSecond {
		return int64(float64(a.bounds[k]) * kinds[k].burst)
	}
	return a.bounds[k]
}

// add counts something.
func (a *account) add(k Kind, n int64, now time.Time) {
	switch kinds[k].unit {
	case perDay:
		if a.bounds[k] < 0 {
			return
		}
		if a.days == nil {
			a.days = new([hours]amount)
		}
		hour := now.Unix() / 3600
		if d := &a.days[hour%hours]; d.hour != hour {
			*d = amount{hour, n}
		} else {
			d.bytes += n
		}
	case perSecond:
		if a.bounds[k] < 0 {
			return
		}
		fallthrough
	default:
		a.used[k] += n
	}
}

// Leave gives the account back. What was taken is given back by itself, before or later.
func (p *Peer) Leave() {
	if p == nil {
		return
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.left {
		return
	}
	p.left = true
	for _, a := range p.accounts {
		a.refs--
	}
}

// Take takes n of a kind that is held, until release is called once.
func (p *Peer) Take(k Kind, n int64) (release func(), err error) {
	if p == nil {
		return func() {}, nil
	}
	if err := p.use(k, n); err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		p.b.mu.Lock()
		defer p.b.mu.Unlock()
		for _, a := range p.accounts {
			a.used[k] -= n
		}
	}), nil
}

// Spend uses n of a kind that comes by the second or by the day.
func (p *Peer) Spend(k Kind, n int64) error {
	if p == nil {
		return nil
	}
	return p.use(k, n)
}

// Refund takes back what was spent for nothing.
func (p *Peer) Refund(k Kind, n int64) {
	if p == nil {
		return
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	now := time.Now()
	for _, a := range p.accounts {
		a.left(k, now)
		a.used[k] = max(0, a.used[k]-n)
	}
}

// use counts something, or returns an *Excess and counts nothing.
func (p *Peer) use(k Kind, n int64) error {
	for {
		e := p.try(k, n)
		if e == nil {
			return nil
		}
		if !p.trusted() {
			p.b.refuse(p, e)
			return e
		}
	}
}

func (p *Peer) try(k Kind, n int64) *Excess {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	now := time.Now()
	if !p.free {
		for _, a := range p.accounts {
			if a.bounds[k] >= 0 && a.left(k, now)+n > a.most(k) {
				return &Excess{k, a.name, a.bounds[k]}
			}
		}
	}
	for _, a := range p.accounts {
		if !p.free || kinds[k].unit == held {
			a.add(k, n, now)
		}
	}
	return nil
}

// trusted asks, once, whether the peer is to have no bounds.
func (p *Peer) trusted() bool {
	if p.who.Trusted == nil || !p.who.Trusted() {
		return false
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.free = true
	return true
}

// Use counts what is there already, whatever the bound.
func (p *Peer) Use(k Kind, n int64) {
	if p == nil {
		return
	}
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.free {
		return
	}
	now := time.Now()
	for _, a := range p.accounts {
		a.left(k, now)
		a.add(k, n, now)
	}
}

// Wait spends n bytes and waits until they may come or go, or stop is closed. It returns ctx's error.
func (p *Peer) Wait(ctx context.Context, k Kind, n int64, stop <-chan struct{}) error {
	if p == nil {
		return nil
	}
	wait, e := p.late(k, n)
	if wait <= 0 || p.trusted() {
		return nil
	}
	p.b.refuse(p, e)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-stop:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// late counts something, and says how much later that may be.
func (p *Peer) late(k Kind, n int64) (wait time.Duration, e *Excess) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	if p.free {
		return 0, nil
	}
	now := time.Now()
	for _, a := range p.accounts {
		if a.bounds[k] <= 0 {
			continue
		}
		over := a.left(k, now) + n - a.most(k)
		a.add(k, n, now)
		if d := time.Duration(float64(over) / float64(a.bounds[k]) * 1e9); d > wait {
			wait, e = d, &Excess{k, a.name, a.bounds[k]}
		}
	}
	return wait, e
}

// sayEvery is the shortest time between two lines about one kind.
const sayEvery = 10 * time.Second

// refuse counts what was refused, and says so now and then.
func (b *Book) refuse(p *Peer, e *Excess) {
	b.mu.Lock()
	b.refused[e.Kind]++
	said := &b.said[e.Kind]
	now := time.Now()
	if !said.at.IsZero() && now.Sub(said.at) < sayEvery {
		said.more++
		b.mu.Unlock()
		return
	}
	more := said.more
	said.at, said.more = now, 0
	b.mu.Unlock()
	b.log.Warn("limit reached", "limit", e.Kind.String(), "peer", p.who.Name, "err", e, "refused_before", more, "hint", "--limit "+e.Kind.String()+"=PEER/WIDE/ALL sets other bounds")
}

// Admit takes a connection that begins at an address: it counts as not set up until done is called. ok is false if there are too many.
func (b *Book) Admit(from net.Addr) (done func(), ok bool) {
	if b == nil {
		return func() {}, true
	}
	p := b.Enter(ByAddress(from))
	if p.Spend(Connects, 1) != nil {
		p.Leave()
		return nil, false
	}
	release, err := p.Take(Handshakes, 1)
	if err != nil {
		p.Leave()
		return nil, false
	}
	return sync.OnceFunc(func() { release(); p.Leave() }), true
}

// AdmitHTTP takes a connection to the HTTP server, until done is called.
func (b *Book) AdmitHTTP(from net.Addr) (done func(), ok bool) {
	if b == nil {
		return func() {}, true
	}
	p := b.Enter(ByAddress(from))
	release, err := p.Take(HTTP, 1)
	if err != nil {
		p.Leave()
		return nil, false
	}
	return sync.OnceFunc(func() { release(); p.Leave() }), true
}

// crowd is how many accounts there may be before addresses are to be proved.
const crowd = 8192

// Prove reports whether who says to be at an address has to prove that before anything is noted of it: if so much waits there, or everywhere,
// that addresses may be invented.
func (b *Book) Prove(from net.Addr) bool {
	if b == nil {
		return false
	}
	who := ByAddress(from)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.peers) > crowd {
		return true
	}
	half := func(a *account) bool {
		if a == nil {
			return false
		}
		for _, k := range []Kind{Handshakes, Connects} {
			if a.bounds[k] >= 0 && a.left(k, time.Now())*2 >= a.most(k) {
				return true
			}
		}
		return false
	}
	return half(&b.all) || half(b.peers[who.Name]) || half(b.peers[who.Block])
}
