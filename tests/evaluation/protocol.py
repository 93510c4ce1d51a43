"""COCO's protocol of panoptic quality, written out a second time: plain, slow, and sharing no idea with the product."""


def statistics(gt_map, gt_segments, pred_map, pred_segments, num_classes):
    """Sums of an image, one pixel mask at a time."""
    iou_sum, tp, fp, fn = [0.0] * num_classes, [0] * num_classes, [0] * num_classes, [0] * num_classes
    found, explained = set(), set()
    for g, gt in enumerate(gt_segments, start=1):
        if gt['iscrowd']:
            continue
        for pred in pred_segments:
            if pred['category_id'] != gt['label']:
                continue
            ours, theirs = pred_map == pred['id'], gt_map == g
            intersection = int((ours & theirs).sum())
            if intersection == 0:
                continue
            area = gt.get('area', int(theirs.sum()))
            union = int(ours.sum()) + area - intersection - int((ours & (gt_map == 0)).sum())
            if intersection / union > 0.5:
                iou_sum[gt['label']] += intersection / union
                tp[gt['label']] += 1
                found.add(g)
                explained.add(pred['id'])
    for g, gt in enumerate(gt_segments, start=1):
        if g not in found and not gt['iscrowd']:
            fn[gt['label']] += 1
    for pred in pred_segments:
        if pred['id'] in explained:
            continue
        ours = pred_map == pred['id']
        harmless = ours & (gt_map == 0)
        crowds = [
            g for g, gt in enumerate(gt_segments, start=1) if gt['iscrowd'] and gt['label'] == pred['category_id']
        ]
        if crowds:
            harmless = harmless | (ours & (gt_map == crowds[-1]))
        if not harmless.sum() / ours.sum() > 0.5:
            fp[pred['category_id']] += 1
    return iou_sum, tp, fp, fn


def average(iou_sum, tp, fp, fn, labels):
    """PQ, SQ and RQ (0-100) of a group of classes."""
    pq, sq, rq, n = 0.0, 0.0, 0.0, 0
    for c in labels:
        if tp[c] + fp[c] + fn[c] == 0:
            continue
        n += 1
        pq += iou_sum[c] / (tp[c] + 0.5 * fp[c] + 0.5 * fn[c])
        sq += iou_sum[c] / tp[c] if tp[c] else 0.0
        rq += tp[c] / (tp[c] + 0.5 * fp[c] + 0.5 * fn[c])
    return 100 * pq / n, 100 * sq / n, 100 * rq / n
