// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The Linux side of dev-scratch: finds EXMP0001 in the ACPI tables, checks the register, makes it
 * raise its interrupt, and says so in the log.
 */
#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>

enum { REG_VALUE = 0x0, REG_PENDING = 0x4 };

static unsigned int match = 42;
module_param(match, uint, 0444);

struct scratch {
	void __iomem *regs;
	struct completion raised;
};

static irqreturn_t scratch_irq(int irq, void *data)
{
	struct scratch *s = data;
	u32 pending = readl(s->regs + REG_PENDING);

	if (!pending)
		return IRQ_NONE;
	writel(pending, s->regs + REG_PENDING);
	complete(&s->raised);
	return IRQ_HANDLED;
}

static int scratch_probe(struct platform_device *pdev)
{
	struct scratch *s = devm_kzalloc(&pdev->dev, sizeof(*s), GFP_KERNEL);
	int irq, rc;
	u32 back;

	if (!s)
		return -ENOMEM;
	init_completion(&s->raised);
	s->regs = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(s->regs))
		return PTR_ERR(s->regs);
	irq = platform_get_irq(pdev, 0);
	if (irq < 0)
		return irq;
	rc = devm_request_irq(&pdev->dev, irq, scratch_irq, IRQF_SHARED, "scratch", s);
	if (rc)
		return rc;
	writel(0x12345678, s->regs + REG_VALUE);
	back = readl(s->regs + REG_VALUE);
	writel(match, s->regs + REG_VALUE);
	if (!wait_for_completion_timeout(&s->raised, HZ)) {
		dev_err(&pdev->dev, "value 0x%x, but no interrupt\n", back);
		return -EIO;
	}
	dev_info(&pdev->dev, "value 0x%x, interrupt taken\n", back);
	return 0;
}

static const struct acpi_device_id scratch_ids[] = { { "EXMP0001" }, {} };
MODULE_DEVICE_TABLE(acpi, scratch_ids);

static struct platform_driver scratch_driver = {
	.driver = { .name = "scratch", .acpi_match_table = scratch_ids },
	.probe = scratch_probe,
};
module_platform_driver(scratch_driver);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("driver of mobo's example device");
