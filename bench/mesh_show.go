package main

import (
	"fmt"
	"time"
)

func showWays(plain, direct, relayed *meshCaller) {
	line := func(name, a, b, c, target string, pass bool) {
		fmt.Printf("%-34s %12s %12s %12s   %s\n", name, a, b, c, verdict(target, pass))
	}
	fmt.Printf("%-34s %12s %12s %12s   %s\n", "mesh, best of the rounds", "HTTPS/2", "one link", "one relay", "target, through the relay")
	frames := func(name string, of func(*meshCaller) time.Duration) {
		times := float64(of(relayed)) / float64(of(plain))
		line("CPU of a token frame, "+name, of(plain).String(), of(direct).String(), of(relayed).String(), fmt.Sprintf("%.2f times HTTPS/2, at most 2", times), times <= 2)
	}
	frames("busy", func(c *meshCaller) time.Duration { return c.busy })
	frames("sparse", func(c *meshCaller) time.Duration { return c.sparse })
	added := relayed.small - plain.small
	line("small request, back to back", round(plain.small), round(direct.small), round(relayed.small), fmt.Sprintf("%s added, at most 80µs", round(added)), added <= 80*time.Microsecond)
	line("token beside bulk, p95", round(plain.beside.P95), round(direct.beside.P95), round(relayed.beside.P95), "under 5ms", relayed.beside.P95 < 5*time.Millisecond)
	line("token beside bulk, median", round(plain.beside.P50), round(direct.beside.P50), round(relayed.beside.P50), "", true)
	share := relayed.bulk / direct.bulk
	line("bulk, MB/s", megabytes(plain.bulk), megabytes(direct.bulk), megabytes(relayed.bulk), fmt.Sprintf("%.2f of one link, at least 0.7", share), share >= 0.7)
	line("bulk, CPU of a MiB", round(plain.bulkCPU), round(direct.bulkCPU), round(relayed.bulkCPU), "", true)
	fmt.Printf("%-34s %.2f of HTTPS/2, through one relay %.2f\n", "bulk over one link", direct.bulk/plain.bulk, relayed.bulk/plain.bulk)
}

// showApart tells what a relay leaves of a link's bulk where it is a machine of its
// own: where all parts share two processors, it takes them from the ends.
func showApart(direct, relayed *meshCaller) {
	if direct.bulkApart == 0 {
		return
	}
	share := relayed.bulkApart / direct.bulkApart
	fmt.Printf("%-34s %12s %12s %12s   %s\n", "the same, a processor for the relay", "", megabytes(direct.bulkApart), megabytes(relayed.bulkApart),
		verdict(fmt.Sprintf("%.2f of one link, at least 0.7", share), share >= 0.7))
}

// showFloor tells what any relay costs on this machine, beside which ours is to be
// judged.
func showFloor(plain, copied *meshCaller) {
	fmt.Printf("%-34s %s added to a small request, bulk %.2f of HTTPS/2, %s more CPU of a MiB\n", "a relay that only copies bytes",
		round(copied.small-plain.small), copied.bulk/plain.bulk, round(copied.bulkCPU-plain.bulkCPU))
}

func showInOne(plain, relayed *meshCaller) {
	added := relayed.small - plain.small
	fmt.Printf("%-34s %12s %12s %12s   %s\n", "the same, all in one process", round(plain.small), "", round(relayed.small),
		verdict(fmt.Sprintf("%s added, at most 80µs", round(added)), added <= 80*time.Microsecond))
}

func megabytes(perSecond float64) string { return fmt.Sprintf("%.0f", perSecond/1e6) }

func verdict(target string, pass bool) string {
	switch {
	case target == "":
		return ""
	case pass:
		return "ok    " + target
	}
	return "MISSED " + target
}
