// Package sim lives through deployments by the hundred thousand: the shipping
// engine, store and decisions under a virtual clock, among instances, alarms,
// people and servers that behave as badly as a seed says. After every commit
// the promises to users are checked against the rows as stored. A seed always
// lives the same life. It promises nothing to other packages.
package sim
