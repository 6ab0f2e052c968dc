package main

import (
	"context"
	"fmt"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/lethe-ledger/lethe/gateway/api"
)

func (p *program) receipt() *cobra.Command {
	return group("receipt", "Show and verify erasure receipts", p.receiptShow(), p.receiptVerify())
}

func (p *program) receiptShow() *cobra.Command {
	c := &cobra.Command{
		Use: "show ID", Short: "Show a receipt as it stands in the log", Args: cobra.ExactArgs(1),
		Long: "Show a receipt as it stands in the log. With --json it comes with the public keys,\nand that file is what lethe receipt verify reads.",
	}
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		return p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
			file, err := s.Receipt(ctx, by, args[0])
			if err != nil {
				return err
			}
			r, err := decodeReceipt(file.Receipt)
			if err != nil {
				return err
			}
			return p.emit(file, receiptSheet(r, validity(file.Valid)))
		})
	})
	return c
}

func validity(valid bool) string {
	if valid {
		return "valid"
	}
	return "not valid"
}

// A verified answers receipt verify.
type verified struct {
	Valid   bool    `json:"valid"`
	Receipt string  `json:"receipt"` // its id
	Ledger  string  `json:"ledger"`
	Key     trusted `json:"key"`
}

func (p *program) receiptVerify() *cobra.Command {
	var key, ledger string
	c := &cobra.Command{
		Use: "verify FILE|ID", Short: "Verify a receipt's signature, offline", Args: cobra.ExactArgs(1),
		Long: "Verify the signature of a receipt that lethe receipt show --json wrote, without\nserver and network. With --key it is verified against that key: PEM, base64 of 32\nbytes, or a file with the keys of a ledger. Without, the key contained in the file\nis trusted, which shows that nothing was changed but not who signed. An ID is\nfetched first.",
	}
	c.Flags().StringVar(&key, "key", "", "public key `FILE` to trust")
	c.Flags().StringVar(&ledger, "ledger", "", "`NAME` of the ledger (default: as the file says)")
	c.RunE = p.do(func(cmd *cobra.Command, args []string) error {
		file, err := p.receiptFile(cmd, args[0])
		if err != nil {
			return err
		}
		if ledger != "" {
			file.Ledger = ledger
		}
		return p.verify(file, key)
	})
	return c
}

// receiptFile reads the receipt from a file, or fetches the one of an id.
func (p *program) receiptFile(cmd *cobra.Command, name string) (file api.ReceiptFile, err error) {
	if _, missing := os.Stat(name); missing == nil {
		return readReceipt(name)
	}
	if uuid.Validate(name) != nil {
		return file, api.Usage(fmt.Sprintf("there is no file %s, and it is no receipt's id", name))
	}
	err = p.with(cmd, whyOperation, func(ctx context.Context, s api.Service, by api.Caller) error {
		file, err = s.Receipt(ctx, by, name)
		return err
	})
	return file, err
}

func (p *program) verify(file api.ReceiptFile, keyFile string) error {
	r, err := decodeReceipt(file.Receipt)
	if err != nil {
		return err
	}
	if file.Ledger == "" {
		return api.Usage("the file does not say of which ledger the receipt is: --ledger NAME")
	}
	k, err := trust(file, r.Key, keyFile)
	if err != nil {
		return err
	}
	if err := verifyWith(r, file.Ledger, k); err != nil {
		return &api.Error{Code: api.CodeTampered, Message: fmt.Sprintf("the receipt is NOT valid: key %s (%s) did not sign it for ledger %s", k.ID, k.Source, file.Ledger)}
	}
	sheet := receiptSheet(r, "valid")
	sheet.add("signed by", fmt.Sprintf("%s, SHA-256 %s (%s)", k.ID, k.Fingerprint, k.Source))
	if k.Source == sourceContained {
		sheet.after = "The key came with the receipt: nothing was changed, but compare the fingerprint with the ledger's, or verify with --key."
	}
	return p.emit(verified{Valid: true, Receipt: r.ID.String(), Ledger: file.Ledger, Key: k}, sheet)
}
