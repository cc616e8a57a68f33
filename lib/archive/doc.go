// Package archive is what an operator does with a relay's store: list it with its holes, check it, mend it, and delete from it.
//
// In flow a store, opened by the relay that runs or by the one who asks, and an order; out flow records, which docs/format/admin.md has. Which groups
// are missing is told by the manifests that lie in the store themselves (docs/format/catalog.md).
package archive
