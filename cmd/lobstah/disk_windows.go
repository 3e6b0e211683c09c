package main

import "golang.org/x/sys/windows"

// freeBytes is how much room is left on the disk that holds path.
func freeBytes(path string) (free uint64, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	return free, windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
}
